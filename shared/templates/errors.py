"""What can be wrong with a template."""


class TemplateSyntaxError(Exception):
    """The text is not a template: found when it is parsed, so when a workflow is saved."""


class TemplateError(Exception):
    """Rendering failed: an undefined name, a filter's argument, a limit."""


class UndefinedNameError(TemplateError):
    """A name that the template uses is not there."""
