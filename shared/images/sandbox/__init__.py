"""Files from strangers are decoded in processes of their own, each with little time and little memory.

A decoder is C code that reads what an attacker wrote. In its own process it can neither hold a thread of the web server
for long, nor fill its memory, nor end it: `decoders.py` keeps a few processes that run `decode.py`, and starts another
where one has ended.
"""
