//! What machines boot: ramdisk, boot media, disk images and their formats.
