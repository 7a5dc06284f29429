"""The only place that knows hardware: what the machine is, and the operations everything else is
made of.
"""
