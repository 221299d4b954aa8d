"Lesson 00, Imagenette: labels from file names"
import re
from . import right, wrong

@right('name_label')
def by_regex(path): return re.match(r'(.+)_\d+', path.name)[1].replace('_', ' ')

@wrong('name_label', 'several words')
def first_word(path): return path.name.split('_')[0]

@wrong('name_label', 'more than two words')
def two_words(path): return ' '.join(path.stem.split('_')[:-1][:2])

@wrong('name_label', 'with spaces')
def underscores(path): return path.stem.rpartition('_')[0]

@wrong('name_label', 'not the folder')
def folder(path): return path.parent.name
