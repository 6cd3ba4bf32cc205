"""The chart of a run."""


def test_an_axis_of_counts_says_each_whole_number_once() -> None:
    # Slow to import: not by each process of a run.
    from matplotlib.figure import Figure  # noqa: PLC0415

    from loadtests.chart_style import name_counts  # noqa: PLC0415

    for highest in (0, 1, 2, 7, 1_100):
        axes = Figure().subplots()
        axes.plot([0, 1], [0, highest])
        name_counts(axes, "requests queued")
        axes.figure.draw_without_rendering()
        labels = [label.get_text() for label in axes.get_yticklabels()]
        assert len(set(labels)) == len(labels), labels
        assert "0" in labels
