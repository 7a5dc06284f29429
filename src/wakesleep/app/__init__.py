"""The web page: loads a model, answers questions about pictures, streams dreams. No learning
here.
"""
