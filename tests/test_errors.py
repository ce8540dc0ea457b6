"""A mistake to mend is one sentence, in a notebook too."""

from IPython.core.interactiveshell import InteractiveShell


def test_a_cell_shows_the_sentence_and_no_traceback(capsys):
    shell = InteractiveShell()
    result = shell.run_cell("from lhdlib.errors import UserError\nraise UserError('Nothing lies in X: put it there.')")
    out, err = capsys.readouterr()
    assert str(result.error_in_exec) == "Nothing lies in X: put it there."
    assert (out + err).strip() == "Error: Nothing lies in X: put it there."
