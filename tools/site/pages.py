"Pages that no notebook is: the table of contents, the results, the reader's progress"
from .translate import element, title_of

def tree(caption, entries):
    "A part of the table of contents"
    lines = '\n'.join(o.removesuffix('.ipynb') for o in entries)
    return f'```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```'

def contents(
    pages,  # Paths of notebooks, from nbs
    extra   # Names of pages that no notebook is
) -> str:   # Markdown for the end of the first page
    "Every page in the order a reader meets it"
    def within(folder): return [o for o in pages if o.startswith(f'{folder}/')]
    practice = [o for o in ('playground.ipynb', 'questionnaire.ipynb', 'your_predictions.ipynb') if o in pages]
    practice += [o for o in extra if o != 'results']
    parts = dict(Lessons=[o for o in pages if o[:2].isdigit()], Bonus=within('bonus'), Practice=practice,
                 Results=['results'], Solutions=within('solutions'), Library=within('api'))
    return '\n\n'.join(tree(caption, entries) for caption,entries in parts.items())

def markdown_table(frame):
    "A table of pandas in Markdown"
    frame = frame.reset_index()
    def row(cells): return '| ' + ' | '.join(str(o).replace('|', '\\|') for o in cells) + ' |'
    return '\n'.join([row(frame.columns), row('---' for _ in frame.columns), *map(row, frame.values.tolist())])

def runs_table(
    runs:list   # Dicts as `load_results` gives them
):              # A `DataFrame` with a row per run
    "Accuracy with and without test time augmentation, and the seconds it took"
    import pandas as pd
    rows = [{'recipe': r['name'], 'seed': r['seed'], 'epochs': r['recipe']['epochs'],
             'accuracy %': round(100*r['accuracy'], 2), 'with views averaged %': round(100*r['tta_accuracy'], 2),
             'training s': r['seconds'], 'averaging s': r['tta_seconds']} for r in runs]
    return pd.DataFrame(rows).set_index('recipe')

def results_page() -> str:  # Markdown
    "What was measured, from the ledger and the runs that the package carries"
    from sota_vision.experiments.claims import claim_verdicts
    from sota_vision.experiments.ledger import verdict_table
    from sota_vision.experiments.results import load_results
    judged,says = [v for v in claim_verdicts() if v.diffs], 'No claim has a run yet.'
    if judged:
        table = verdict_table(judged)
        answers = ['verdict', 'sentence', 'difference [interval]', 'level %', 'seeds']
        says = markdown_table(table[answers])     # a phone shows the first columns: the verdict is one of them
    return f'''# Results

Every number below comes from a run that the package carries in `sota_vision/results`.

## Claims

A claim is judged on paired runs: the same seed with and without. *No look yet* means that too few seeds have run for a
verdict. [What a claim is, and by which rule it is judged](api/22_experiments_ledger.ipynb);
[the claims with their arms and seeds](api/23_experiments_claims.ipynb). Claims that no run has touched are left out.

{says}

## Photos on two cores

Imagenette's validation photos, runs with one seed each ([how they are read](api/21_experiments_results.ipynb)).

{markdown_table(runs_table(load_results('photos_cpu')))}
'''

def lesson_list(
    found:dict, # Page → number of a cell → `Element`
    read        # Function: page → notebook
) -> list:      # A dict for each page that has something to do
    "What there is to do in each lesson"
    kinds = dict(questions=('choice', 'amount', 'words'), exercises=('exercise',), predictions=('prediction',))
    return [dict(page=page.removesuffix('.ipynb'), title=title_of(read(page)),
                 **{k: [e.key for e in es.values() if e.kind in these] for k,these in kinds.items()})
            for page,es in sorted(found.items()) if page[:2].isdigit() or page.startswith('bonus/')]

def progress_page(
    lessons:list,   # What `lesson_list` returns
    cards:int       # How many cards the deck has
) -> str:           # Markdown
    "The page of the reader's progress, which the script fills"
    return f'''# Your progress

Lessons read, questions answered, exercises passed, results predicted, and how your predictions did. All of it is kept
in this browser and sent nowhere; another browser or device knows nothing of it.

{element('progress', dict(lessons=lessons), '<p>This page needs JavaScript.</p>')}

## To take along

- <a href="_static/sota_vision.apkg" download>The questions as a deck for Anki</a>: {cards} cards, by lesson
- <a href="_static/sota_vision.epub" download>The whole series as an EPUB</a>, without widgets
'''
