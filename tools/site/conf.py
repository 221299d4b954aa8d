"Sphinx's settings; `python -m tools.site` calls it"
import os
from docutils import nodes
from latex2mathml.converter import convert

project = 'sota_vision'
author = 'the sota_vision developers'
copyright = '2026 onwards, the sota_vision developers'
language = 'en'
extensions = ['myst_nb']
exclude_patterns = []
nb_execution_mode = 'off'
nb_merge_streams = True
nb_number_source_lines = False
nb_mime_priority_overrides = [(builder, mime, i) for builder in ('html', 'epub')
                              for i,mime in enumerate(('image/png', 'image/jpeg', 'text/html'))]
myst_enable_extensions = ['dollarmath']
myst_heading_anchors = 3
suppress_warnings = ['myst.header', 'misc.highlighting_failure', 'epub.unknown_project_files',
                     'mystnb.unknown_mime_type', 'toc.not_included', 'myst.xref_missing', 'toc.not_readable']
pygments_style = 'default'

html_theme = 'sphinx_book_theme'
html_title = 'sota_vision'
html_static_path = [os.environ['SITE_STATIC']]
html_css_files = ['site.css']
html_js_files = [('site.js', dict(defer='defer'))]
html_favicon = 'static/icon.svg'
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
html_math_renderer = 'mathml'
html_context = dict(default_mode='auto')
html_theme_options = dict(
    repository_url='https://github.com/sota-vision/sota_vision', use_repository_button=True,
    use_fullscreen_button=False, use_download_button=False, show_navbar_depth=1, navigation_with_keys=False,
    pygments_light_style='a11y-high-contrast-light', pygments_dark_style='a11y-high-contrast-dark')

version = release = '0.2'
epub_title = 'sota_vision'
epub_identifier = 'https://github.com/sota-vision/sota_vision'
epub_scheme = 'URL'
epub_uid = 'sota_vision'
epub_description = 'Notebooks that teach how a state-of-the-art image classifier is trained from scratch with fastai'
epub_contributor = author
epub_theme = 'epub'
epub_show_urls = 'no'
epub_static_path = []
epub_exclude_files = ['.nojekyll']
epub_tocscope = 'includehidden'

def mathml(self, node, display):
    "A formula as MathML, which browsers and readers of EPUB show without a script"
    self.body.append(convert(node.astext(), display=display))
    raise nodes.SkipNode

def inline_math(self, node): mathml(self, node, 'inline')
def block_math(self, node): mathml(self, node, 'block')

def sheets(app, page, template, context, doctree):
    "myst-nb copies its style sheet when the EPUB is packed already: the book goes without"
    if app.builder.name == 'epub':
        context['css_files'] = [o for o in context['css_files'] if 'mystnb' not in str(o.filename)]

def setup(app):
    app.add_html_math_renderer('mathml', (inline_math, None), (block_math, None))
    app.connect('html-page-context', sheets)
