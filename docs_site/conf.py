"""How the site looks and what Sphinx reads. What it reads is staged by `docs_site.staging`."""

from __future__ import annotations

from importlib.metadata import version as version_of

project = "credit_assets"
author = "The credit_assets authors"
copyright = "the credit_assets authors, Apache-2.0"
version = release = version_of("credit-assets")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
root_doc = "index"
source_suffix = {".md": "markdown"}

# Anchors of headings as GitHub makes them, so that a link leads to the same place there and here.
myst_heading_anchors = 4
# For pictures that belong to light or to dark pages.
myst_enable_extensions = ["attrs_inline"]
myst_links_external_new_tab = False
suppress_warnings = ["misc.highlighting_failure"]
highlight_language = "text"
# A single backtick in a docstring is code.
default_role = "literal"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
copybutton_prompt_text = "$ "

html_theme = "furo"
html_title = "credit_assets"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_use_index = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#1f5fa8", "color-brand-content": "#1f5fa8"},
    "dark_css_variables": {"color-brand-primary": "#7db4f0", "color-brand-content": "#7db4f0"},
}
