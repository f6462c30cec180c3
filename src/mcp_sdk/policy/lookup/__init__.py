"""The index: from a call to the first rule that matches."""
