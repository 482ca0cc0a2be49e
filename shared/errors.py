"""The errors that Pathlight raises on purpose. Their text is one sentence that a user may read.

PathlightError
|-- InvalidSetting        a setting has a value that cannot be used
|-- InvalidOption         a job option has a bad value (422)
|-- InvalidImage          the bytes are not a picture that can be explained
|-- ImageTooLarge         more bytes or pixels than allowed (413)
|-- UnsupportedImage      not JPEG, PNG or WebP (415)
|-- InvalidArchive        an archive of pictures is damaged, encrypted or not an archive (400)
|-- BatchTooLarge         more pictures, or more bytes of them, than a batch may have (413)
|-- InvalidBackup         a backup is damaged, not whole, or not one
|-- InvalidBundle         a bundle is not what its manifest says, or not signed by the key
|-- InvalidHierarchy      a class hierarchy is not a tree over the classes
|-- ModelUnavailable      a model is unknown, not ready, or its files are not what the card says
|-- ForbiddenAddress      an address that a stranger named is not one that may be contacted
|-- FetchFailed           a download did not arrive or was not what it should be
|   `-- AnswerTooLarge    it has more bytes than were asked for
|-- MissingWordNet        the dictionary that names tree nodes is not installed or not readable
|-- MissingPackage        this environment has not the Python packages of a role
|-- UnknownJob            no job has this id (404)
|-- UnknownKey            no API key has this name or id
|-- JobConflict           the request contradicts the state of the job (409)
|-- QueueFull             no more jobs are accepted for now (503)
|-- TooManyRequests       one caller asks for too much at once (429)
|-- StoreUnavailable      Redis does not answer (503)
|-- StorageFailed         a blob cannot be written or read
`-- AlreadyRunning        another instance uses the state directory
"""


class PathlightError(Exception):
    """Base of all expected errors. `code` is what a failed job or a problem document carries."""

    code = "internal"


class InvalidSetting(PathlightError):
    """A setting has a value that cannot be used; names key and value."""


class InvalidOption(PathlightError):
    """A job option has a bad value; names the option and the allowed values."""

    code = "invalid_option"


class InvalidImage(PathlightError):
    """The bytes are not a picture that can be explained."""

    code = "invalid_image"


class ImageTooLarge(InvalidImage):
    """More bytes or pixels than the settings allow."""

    code = "image_too_large"


class UnsupportedImage(InvalidImage):
    """Not JPEG, PNG or WebP."""

    code = "unsupported_image"


class InvalidArchive(PathlightError):
    """An archive of pictures is damaged, encrypted or not an archive."""

    code = "invalid_archive"


class BatchTooLarge(PathlightError):
    """More pictures, or more bytes of them, than a batch may have."""

    code = "batch_too_large"


class InvalidBackup(PathlightError):
    """A backup is damaged, not whole, or not one."""


class InvalidBundle(PathlightError):
    """A bundle is not what its manifest says, or not signed by the key."""


class InvalidHierarchy(PathlightError):
    """A class hierarchy is not a tree over the classes."""


class ModelUnavailable(PathlightError):
    """A model is unknown, not ready, or its files are not what the card says."""

    code = "model_unavailable"


class ForbiddenAddress(PathlightError):
    """An address that a stranger named is not one that may be contacted; says which rule it breaks."""

    code = "invalid_option"


class FetchFailed(PathlightError):
    """A download did not arrive or was not what it should be."""


class AnswerTooLarge(FetchFailed):
    """A download has more bytes than its receiver takes."""


class MissingWordNet(PathlightError):
    """The dictionary that names tree nodes is not installed or not readable; names the remedy."""


class MissingPackage(PathlightError):
    """This environment has not the Python packages of a role; names the remedy."""


class UnknownJob(PathlightError):
    """No job has this id."""

    code = "not_found"


class UnknownKey(PathlightError):
    """No API key has this name or id."""

    code = "not_found"


class JobConflict(PathlightError):
    """The request contradicts the state of the job."""

    code = "conflict"


class QueueFull(PathlightError):
    """No more jobs are accepted for now."""

    code = "queue_full"


class TooManyRequests(PathlightError):
    """One caller asks for too much at once."""

    code = "too_many_requests"


class StoreUnavailable(PathlightError):
    """Redis does not answer."""

    code = "store_unavailable"


class StorageFailed(PathlightError):
    """A blob cannot be written or read."""

    code = "storage"


class AlreadyRunning(PathlightError):
    """Another instance uses the state directory."""
