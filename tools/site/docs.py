"What a cell exports, as a page shows it: signature, docstring, and a table of the parameters with their comments"
import ast, io, re, tokenize

def comments(
    source:str  # Of a code cell
) -> dict:      # Number of a line → the comment at its end
    "The comments of `source`"
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip('# ').rstrip() for t in tokens if t.type == tokenize.COMMENT}

def cell(text): return text.replace('|', '\\|').replace('\n', ' ')
def code(node): return f'`{cell(ast.unparse(node))}`' if node else ''
def prose(text):    # `<name>` is no tag; between backticks Markdown leaves it alone
    return ''.join(o if i % 2 else o.replace('<', '&lt;') for i,o in enumerate(re.split('(`[^`]*`)', text)))

def parameters(node):
    "(line, name, annotation, default) of the arguments of a function, or of the fields of a class"
    if isinstance(node, ast.ClassDef):
        init = next((o for o in node.body if isinstance(o, ast.FunctionDef) and o.name == '__init__'), None)
        if init: return parameters(init)
        return [(o.lineno, o.target.id, o.annotation, o.value) for o in node.body if isinstance(o, ast.AnnAssign)]
    a = node.args
    plain,defaults = a.posonlyargs+a.args, a.defaults
    found = list(zip(plain, [None]*(len(plain)-len(defaults)) + defaults)) + list(zip(a.kwonlyargs, a.kw_defaults))
    found += [(o, None) for o in (a.vararg, a.kwarg) if o]
    return [(o.lineno, o.arg, o.annotation, default) for o,default in found if o.arg not in ('self', 'cls')]

def returned(node, said):
    "(annotation, comment) of what a function returns, or None"
    if isinstance(node, ast.ClassDef) or not (node.returns or node.body[0].lineno-1 in said): return None
    line = node.returns.lineno if node.returns else node.body[0].lineno-1
    return node.returns, said.get(line, '')

def definition(node, said):
    "Markdown for one function or class"
    rows = [f'| `{name}` | {code(kind)} | {code(default)} | {cell(prose(said.get(line, "")))} |'
            for line,name,kind,default in parameters(node)]
    back = returned(node, said)
    if back and any(back): rows.append(f'| **returns** | {code(back[0])} | | {cell(prose(back[1]))} |')
    title = 'class ' if isinstance(node, ast.ClassDef) else ''
    out = [f'**{title}`{node.name}`**', prose(ast.get_docstring(node) or '')]
    if rows: out.append('\n'.join(['| | type | default | |', '|---|---|---|---|', *rows]))
    return '\n\n'.join(o for o in out if o)

def documented(
    source:str  # Of a code cell that exports
) -> str:       # Markdown, '' if it defines nothing public
    "A table for each public function and class of a cell"
    try: tree = ast.parse(source)
    except SyntaxError: return ''    # a line of IPython's
    said = comments(source)
    return '\n\n'.join(definition(o, said) for o in tree.body
                       if isinstance(o, (ast.FunctionDef, ast.ClassDef)) and o.name[0] != '_')
