"""Checkpoints for others: cosigned by witnesses, published, kept elsewhere. In the control process, in the background.

    log/checkpoint -> witnesses -> log/published -> file:, https:, git:

Nothing here signs, and no call waits for it. What fails is tried again; the newest checkpoint gets there in the end.
`job` does it; `status` is what others read, and loads nothing else.
"""
