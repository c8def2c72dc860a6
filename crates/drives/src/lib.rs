//! Writes images to drives, reads them back, erases them.
