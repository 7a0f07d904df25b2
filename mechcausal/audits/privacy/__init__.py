"""Questions of privacy: what a model gives away of its training data and of the people in its prompts."""

from mechcausal.audits.privacy.attribute_inference import AttributeInference as AttributeInference
from mechcausal.audits.privacy.canaries import Canaries as Canaries
from mechcausal.audits.privacy.candidates import Candidates as Candidates
from mechcausal.audits.privacy.exposure import Exposure as Exposure
from mechcausal.audits.privacy.exposures import exposures as exposures
from mechcausal.audits.privacy.extraction import Extraction as Extraction
from mechcausal.audits.privacy.localization import Localization as Localization
from mechcausal.audits.privacy.members import Members as Members
from mechcausal.audits.privacy.membership import Membership as Membership
from mechcausal.audits.privacy.sources import CanariesSource as CanariesSource
from mechcausal.audits.privacy.sources import TextsSource as TextsSource
from mechcausal.audits.privacy.written_data import PersonalData as PersonalData
