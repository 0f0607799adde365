"""What all pages have in common, whatever they tell.

    markup   HTML by functions; a text is escaped unless it is markup already
    frame    a whole document around a body: language, policy against everything that is not in it, style
    place    a directory of pages, or a single one, written whole or not at all
    order    in which one reads the chapters
    words    names of languages, levels and verdicts

A page needs no script and nothing from elsewhere, is well-formed XML, and the same input gives the same bytes.
"""
