"""What every figure is put together from: sizes and colours, names, axes, panels, the lines under the title."""
