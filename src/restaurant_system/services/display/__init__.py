"""The kitchen display: stations operated by people, with their tickets on a screen."""
