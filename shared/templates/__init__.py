"""Liquid templates: parsed once and cached, strict about undefined names, limited in what they may use.

`parse` makes a `Template`, which renders to text, to a value with its type, or into a JSON document whose structure no
value can change. `fields` renders whole configurations.
"""

from shared.templates.direct import Scope
from shared.templates.errors import TemplateError, TemplateSyntaxError
from shared.templates.template import Template, is_template, parse

__all__ = ["Scope", "Template", "TemplateError", "TemplateSyntaxError", "is_template", "parse"]
