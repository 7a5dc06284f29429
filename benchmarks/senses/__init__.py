"""Several senses: figures of one memory over pictures, sounds, views, words and labels."""
