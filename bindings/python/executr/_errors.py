# SPDX-License-Identifier: MIT
"""Exceptions: one class for each status of the library."""


class Error(Exception):
    """
    A call failed. `status` is the library's code, `native` what the system
    below said (errno, HTTP status, …; or 0), `field` the input at fault or "",
    `message` what was wrong and what to do.
    """

    def __init__(self, status, native=0, field="", message=""):
        super().__init__(message)
        self.status = status
        self.native = native
        self.field = field
        self.message = message

    def __reduce__(self):
        return type(self), (
            self.status, self.native, self.field, self.message)


class ArgumentError(Error, ValueError):
    """Something handed in is not allowed; `field` names it."""


class OutOfMemory(Error):
    """No memory for the call; it can be repeated."""


class InputOutputError(Error):
    """Reading or writing failed; `native` is the errno."""


class NotFound(Error, LookupError):
    """There is no such job or binary."""


class Conflict(Error):
    """The state of the job, key or file does not allow it."""


class LostAttempt(Conflict):
    """The attempt is not this executor's (any more)."""


class TooLarge(Error, ValueError):
    """More than the limit that the message names."""


class Unavailable(Error):
    """The server or the database is away; try again later."""


class TimedOut(Error):
    """No answer in time; whether the call took effect is not known."""


class Unauthorized(Error):
    """The token is missing or wrong."""


class ProtocolError(Error):
    """The answer is not one of an executr server."""


class HashMismatch(Error):
    """The bytes are not those that the SHA-256 names."""


class Unsupported(Error):
    """This build or machine can't do that."""


class Cancelled(Error):
    """The call was stopped, or the job is being stopped."""


class CallbackFailed(Error):
    """A callback stopped the call."""


class InternalError(Error):
    """A fault in the library itself."""


CLASSES = {
    -1: ArgumentError, -2: OutOfMemory, -3: InputOutputError, -4: NotFound,
    -5: Conflict, -6: LostAttempt, -7: TooLarge, -8: Unavailable,
    -9: TimedOut, -10: Unauthorized, -11: ProtocolError, -12: HashMismatch,
    -13: Unsupported, -14: Cancelled, -15: CallbackFailed,
    -16: InternalError,
}


def error_of(status, native=0, field="", message=""):
    """The exception for a status; unknown ones are plain errors."""
    return CLASSES.get(status, Error)(status, native, field, message)
