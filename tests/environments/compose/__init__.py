"""The compose project, really run: the image from its Dockerfile, containers, a sale, faults.

`make compose-test`, as root, with podman, netavark with aardvark-dns, runc and debootstrap. It is
no part of `make test`.
"""
