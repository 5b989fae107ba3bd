"""The storage SCP and the STOW-RS origin server: bytes on disk, then 0x0000."""
