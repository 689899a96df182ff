"""`execute_python` in the form of each framework: one small module each, over one `PythonTool`.

Every module has `definition()`, what goes into a request, with `answer_calls()`, which carries out
the calls of a reply and returns what to append; or `tool()`, an object of the framework; or both.
A framework is imported when its `tool()` is called, and is an extra of this package.
"""
