"""The words by which names of columns and statuses are told, in the languages that lenders were seen to write them in.

Belongs here: lists of words and forms of names. Does not belong here: what follows from them (`guesses`).
"""

from __future__ import annotations


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


OF_ID = _words("id nr no num number nummer key uuid ref reference")
OF_APPLICATION = _words("antrag antrags app appl application applications contract deal kredit loan request vertrag")
OF_CUSTOMER = _words("applicant borrower client cust customer debtor holder kunde kunden kundennr member party person")
OF_DATE = _words(
    "antrag antrags antragsdatum app appl application applied created eingang issue issued origination request",
    "requested submitted",
)
NOT_OF_DATE = _words(
    "birth booked closed decided decision default dob earliest end geburt geburtsdatum known last maturity next",
    "outcome paid status updated",
)
OF_STATUS = _words("status state outcome decision result ergebnis entscheidung stand")
OF_OUTCOME_DAY = _words("outcome status known default closed charged stand ausfall recorded effective")
NOT_OF_OUTCOME_DAY = _words("next decision decided booked maturity end")
OF_TARGET = _words("default defaulted bad target label ausfall ausgefallen chargeoff")
# The age of an account is not that of a person.
NOT_OF_A_PERSON = _words("account accounts acct avg car credit file line loan months mths newest oldest vehicle")
PROTECTED = {
    "gender": _words("sex gender geschlecht anrede"),
    "age": _words("age alter birth dob birthdate birthday geburtsdatum geburtsjahr geburtstag"),
    "ethnicity": _words("ethnicity ethnic race"),
    "religion": _words("religion konfession"),
    "nationality": _words("nationality citizenship staatsangehoerigkeit nationalitaet"),
    "marital status": _words("marital familienstand"),
    "pregnancy or disability": _words("pregnant pregnancy disability behinderung"),
    "postal code": _words("zip zipcode postal postcode plz postleitzahl"),
}

KNOWN_LATER = (
    r"(^|_)(last|next)_(pymnt|payment|pay|credit_pull|fico|zahlung|contact)",
    r"(^|_)total_(pymnt|payment|paid|rec)",
    r"pymnt",
    r"(^|_)(recover|recoveries|recovered|recovery)",
    r"(^|_)out_prncp",
    r"(^|_)(outstanding|restschuld)(_|$)",
    r"(^|_)(collection|collections)(_|$)",
    r"(^|_)(charge|charged)_?off",
    r"(^|_)write_?off",
    r"(^|_)(settlement|hardship|deferral|forbearance|inkasso|mahnung|mahnstufe)",
    r"(^|_)funded_",
    r"days_past_due$",
    r"(^|_)dpd(_|$)",
    r"(^|_)(paid|bezahlt|getilgt|repaid)(_|$)",
    r"(^|_)(default|defaulted|ausfall|ausgefallen)(_|$)",
    r"(^|_)(outcome|closed|closing|booked|decision|decided|approved|ergebnis|entscheidung)(_|$)",
    r"^((loan|account|acct|contract|payment|application|appl|credit|kredit|antrags?)_?)?status$",
    r"(^|_)(known|loaded|updated|modified)_?(at|on|date)?$",
)
"""Forms of names, in small letters with _ between the words, of what is known only after the application."""
OF_A_BUREAU = r"(^|_)(within|in_last)_|(^|_)\d+_?(m|mo|mths|mnths|months|monate|y|yrs|years)(_|$)"
"""What is counted over so many months before the application, whatever it counts."""

OUTCOMES = {
    "excluded": "fraud|deceased|betrug|verstorben",
    "bad": "charged|charge off|default|write|90|bad|loss|ausgefallen|ausfall|abgeschrieben|inkasso|gekuendigt",
    "indeterminate": "grace|late|30|60|delinquent|arrears|past due|mahnung|verzug",
    "reversed": "cured|reversed|geheilt",
    "good": "paid|current|good|closed|performing|getilgt|bezahlt|laufend|zurueckgezahlt",
}
"""Statuses by class, looked for in this order: "fraud - charged off" is fraud."""
POPULATION = {
    "withdrawn": "withdraw|not taken|nottaken|cancel|expired|zurueckgezogen|storniert|abgelaufen|nicht abgenommen",
    "declined": "declin|reject|denied|refus|abgelehnt|ablehnung",
    "undecided": "pending|open|review|undecided|submitted|offen|bearbeitung|in pruefung",
    "booked": "booked|funded|disburs|issued|active|approved|accepted|originated|ausgezahlt|ausbezahlt|genehmigt",
}
"""Likewise: "approved, not taken up" is no loan that was made."""
