"""Rotated boxes: geometry, overlap, suppression, features under them and how a network codes them.

A rotated box is ``(cx, cy, w, h, θ)``: centre, sides in pixels, and the angle in radians from the x axis to the side w.
The y axis of an image points down, so a positive angle turns clockwise as seen on the screen. The one form of a box
that is kept is 'le90': w >= h and θ in [-π/2, π/2). A horizontal box is ``(x1, y1, x2, y2)``: left, top, right, bottom.

All of it is plain PyTorch: batched, on any device, with gradients, and open to `torch.export`. Names are found in their
modules: `boxes`, `dota`, `iou`, `nms`, `align`, `coding`.
"""
