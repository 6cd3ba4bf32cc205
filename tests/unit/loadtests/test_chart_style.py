"""The chart of a run."""

from matplotlib.figure import Figure

from loadtests.chart_style import name_counts


def test_an_axis_of_counts_says_each_whole_number_once() -> None:
    for highest in (0, 1, 2, 7, 1_100):
        axes = Figure().subplots()
        axes.plot([0, 1], [0, highest])
        name_counts(axes, "requests queued")
        axes.figure.draw_without_rendering()
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert len(set(labels)) == len(labels), labels
        assert "0" in labels
