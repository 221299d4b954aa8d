"The questions as a deck for Anki"
import zlib
import genanki

model = genanki.Model(1607392318, 'sota_vision question', fields=[dict(name='Question'), dict(name='Answer')],
    templates=[dict(name='Card', qfmt='{{Question}}', afmt='{{FrontSide}}<hr id="answer">{{Answer}}')],
    css='.card {font: 18px/1.5 sans-serif; text-align: left; max-width: 40em; margin: auto}')

def number(text): return zlib.crc32(text.encode()) + 2**31     # the same at every build, so that Anki updates a deck

def write_deck(
    file,           # Where to; ends in .apkg
    lessons:dict    # Title → `Element`s that are questions
) -> int:           # How many cards it has
    "A deck for each lesson, in one file; a card whose question stays keeps its history"
    decks = []
    for title,asked in lessons.items():
        if not asked: continue
        decks.append(genanki.Deck(number(title), f'sota_vision::{title}'))
        for e in asked: decks[-1].add_note(genanki.Note(model, list(e.card), guid=genanki.guid_for(e.key)))
    genanki.Package(decks).write_to_file(file)
    return sum(len(d.notes) for d in decks)
