"""The panel beside the image: classes with colour and key, what is annotated of each, and when it was saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnunet_ext.annotation.classes import UNANNOTATED
from nnunet_ext.annotation.coverage import DENSE_SHARE

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnunet_ext.annotation.session import AnnotationSession

_HEAD = ("", "Key", "Class", "Voxels", "Slices", "Dense", "Sparse")
_COLOR, _KEY, _NAME, _FIRST_NUMBER = 0, 1, 2, 3
_ROWS_SHOWN = 12
_HINTS = (
    "Digits choose the class, also where napari's help names tools.<br>"
    "<b>P</b> brush &nbsp; <b>F</b> fill &nbsp; <b>E</b> erase &nbsp; <b>L</b> pick &nbsp; <b>Z</b> move<br>"
    "<b>[</b> <b>]</b> brush size &nbsp; <b>B</b> keep other classes &nbsp; <b>Ctrl+Z</b> undo<br>"
    f"Dense: slices annotated to {DENSE_SHARE:.0%} or more."
)


class ClassPanel:
    """Shows a session; ``widget`` is what napari docks.

    Parameters
    ----------
    session
        What is shown.
    on_select
        Called with the id of the class whose row was clicked.
    on_save
        Called when the button is pressed.
    """

    def __init__(
        self, session: AnnotationSession, on_select: Callable[[int], None], on_save: Callable[[], None]
    ) -> None:
        from qtpy.QtCore import Qt
        from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

        self._session = session
        self.widget: Any = QWidget()
        self.table: Any = self._make_table()
        self.table.cellClicked.connect(lambda row, _column: on_select(session.classes[row].id))
        self.slice_text: Any = QLabel()
        self.save_button: Any = QPushButton("Save now")
        # Keys go to the image, whatever was clicked last.
        self.save_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.save_button.clicked.connect(on_save)
        self.status: Any = QLabel()
        hints = QLabel(_HINTS)
        layout = QVBoxLayout()
        layout.addWidget(self.table, 1)
        for widget in (self.slice_text, self.save_button, self.status, hints):
            if widget is not self.save_button:
                widget.setWordWrap(True)
            layout.addWidget(widget)
        self.widget.setLayout(layout)
        self.is_gone = False
        self.widget.destroyed.connect(self._mark_gone)
        self.show_coverage(session.first_slice)
        self.show_selected()

    def show_coverage(self, index: int) -> None:
        """Show what is annotated, and the share of the slice that is looked at."""
        if self.is_gone:
            return
        for row, found in enumerate(self._session.table(), start=1):
            for column, number in enumerate((found.voxels, found.slices, found.dense, found.sparse), _FIRST_NUMBER):
                self.table.item(row, column).setText(f"{number:,}" if number else "–")
        share = self._session.coverage.annotated_share(index)
        kind = "dense" if share >= DENSE_SHARE else "sparse" if share else "not annotated"
        slices = len(self._session.coverage.annotated_slices())
        # 99.96 % is not all of it.
        percent = f"{int(share * 1000) / 10:.1f}"
        self.slice_text.setText(
            f"Slice {index}: {percent} % annotated ({kind}). "
            f"Annotated slices: {slices} of {self._session.image.shape[0]}."
        )

    def show_selected(self) -> None:
        """Mark the row of the selected class."""
        if not self.is_gone:
            self.table.selectRow(self._session.classes.index(self._session.selected))

    def show_status(self, *, saving: bool) -> None:
        """Show whether everything is saved."""
        if self.is_gone:
            return
        session = self._session
        if session.error:
            text, color = session.error, "#ff6666"
        elif saving:
            text, color = "Saving …", "#ffcc66"
        elif session.dirty:
            text, color = "Not saved yet: is saved by itself in a moment, and on closing.", "#ffcc66"
        else:
            text, color = "Everything is saved.", "#88dd88"
        if session.saved_at is not None:
            text += f" Last saved {session.saved_at:%H:%M:%S}."
        for notice in session.store.notices:
            text += f"\n{notice}."
        if self.status.text() != text:
            self.status.setText(text)
            self.status.setStyleSheet(f"color: {color}")

    def _mark_gone(self, _object: object = None) -> None:
        """Remember that the panel was closed; the annotation goes on being saved."""
        self.is_gone = True

    def _make_table(self) -> Any:
        from qtpy.QtCore import Qt
        from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QLabel, QTableWidget, QTableWidgetItem

        classes = self._session.classes
        table: Any = QTableWidget(len(classes), len(_HEAD))
        table.setHorizontalHeaderLabels(_HEAD)
        table.verticalHeader().hide()
        table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        for row, one in enumerate(classes):
            for column in range(len(_HEAD)):
                item: Any = QTableWidgetItem()
                if column >= _FIRST_NUMBER:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                table.setItem(row, column, item)
            table.item(row, _KEY).setText(one.key)
            table.item(row, _NAME).setText(f"{one.name} (erase)" if one.id == UNANNOTATED else one.name)
            table.item(row, _NAME).setToolTip(f"id {one.id}")
            if one.id != UNANNOTATED:
                # A label of its own, since the mark of the selected row hides the colour of a cell.
                swatch: Any = QLabel()
                swatch.setStyleSheet(f"background-color: rgb{one.color}; border: 1px solid #888; margin: 3px")
                table.setCellWidget(row, _COLOR, swatch)
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(_COLOR, QHeaderView.ResizeMode.Fixed)
        table.setColumnWidth(_COLOR, 24)
        table.setMinimumWidth(430)
        # Beside other panels, napari would leave it two rows.
        rows = min(len(classes), _ROWS_SHOWN)
        table.setMinimumHeight((rows + 1) * table.rowHeight(0) + 4)
        return table
