"""Tables, pictures, a page, and what prompts say."""
