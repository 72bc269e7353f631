"""What is wrong with a request to do something to a picture. Nothing was stored or charged."""

from pipeline.errors import PipelineError


class NoPictureGiven(PipelineError):
    status, code, title = 422, "no_picture", "No picture was given"

    def __init__(self) -> None:
        super().__init__(
            "The request names no picture. Nothing was stored. Name one of this service by"
            " image_id, job_id or its address (image_url), or send a form with the file image.",
            field="image_id",
        )


class PictureGivenTwice(PipelineError):
    status, code, title = 422, "picture_given_twice", "A picture was given twice"

    def __init__(self, field: str) -> None:
        super().__init__(
            f"{field} is sent as a file and named as well. Nothing was stored. Give one of them.",
            field=field,
        )


class SourceNotUsable(PipelineError):
    status, code, title = 409, "source_not_usable", "The picture cannot be taken"

    def __init__(self, field: str, named: object, reason: str) -> None:
        super().__init__(
            f"{field} {named}: {reason}. Nothing was stored and nothing charged. Name a picture"
            " that exists by image_id, a completed job by job_id, or send a form with the file"
            " image.",
            field=field,
        )


class UploadNotUsable(PipelineError):
    status, code, title = 422, "bad_picture", "What was sent is no usable picture"

    def __init__(self, field: str, reason: str, detail: str) -> None:
        super().__init__(
            f"{field}: {detail}. Nothing was stored and nothing charged. Send a PNG, JPEG or WebP.",
            field=field,
            reason=reason,
        )


class MaskNotUsable(PipelineError):
    status, code, title = 422, "mask_not_usable", "The mask does not fit"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}. Nothing was stored and nothing charged. Give a mask as large as the"
            " picture, white where it is to change, by mask_image_id or as the file mask.",
            field="mask_image_id",
        )


class ResultTooLarge(PipelineError):
    status, code, title = 422, "result_too_large", "The result would be too large"

    def __init__(self, field: str, width: int, height: int, most: str) -> None:
        super().__init__(
            f"The result would have {width} x {height} pixels; {most}. Nothing was stored and"
            " nothing charged. Ask for less, or begin with a smaller picture.",
            field=field,
        )


class PromptMissing(PipelineError):
    status, code, title = 422, "prompt_missing", "The operation needs a prompt"

    def __init__(self, operation: str) -> None:
        super().__init__(
            f"{operation} needs words, and nobody knows what this picture was painted of. Nothing"
            " was stored. Say in prompt what is to be seen.",
            field="prompt",
        )


class UnknownOperation(PipelineError):
    status, code, title = 422, "unknown_operation", "The provider does not do this"

    def __init__(self, operation: str, provider: str | None, able: list[str]) -> None:
        who = provider or "No provider that is configured here"
        others = f"{', '.join(able)} can" if able else "nobody here can"
        super().__init__(
            f"{who} does no {operation}; {others}. Nothing was stored. Name one who can, or leave"
            " provider out.",
            field="provider",
            known=able,
        )
