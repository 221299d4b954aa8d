"""Answers to the exercises, one file per lesson: `right` ones, and `wrong` ones with words of the hint they deserve

A right answer here is another than the one in the solutions notebook, or one that the wrong answers start from.
"""
right_answers,wrong_answers = [],[]

def right(exercise):
    "Note the function below as a right answer to `exercise`"
    def note(answer):
        right_answers.append((exercise, answer))
        return answer
    return note

def wrong(exercise, hint):
    "Note the function below as a wrong answer to `exercise`; `hint` occurs in what its check says"
    def note(answer):
        wrong_answers.append((exercise, answer, hint))
        return answer
    return note
