"""The one shape of every error (RFC 9457, `application/problem+json`)."""

from __future__ import annotations

from pydantic import BaseModel, Field

from app.errors import FieldError, WasserscopeError, error_from_code


class FieldProblem(BaseModel):
    """One rejected field of a request."""

    field: str = Field(description="Where in the request, dotted.", examples=["body.tokens"])
    message: str = Field(description="What is wrong with it.", examples=["Input should be greater than 0"])


class Problem(BaseModel):
    """What went wrong and what to do about it."""

    type: str = Field(
        description="URI that names the kind of problem.",
        examples=["urn:wasserscope:problem:model-not-found"],
    )
    title: str = Field(description="The kind of problem in words.", examples=["No such model"])
    status: int = Field(description="HTTP status.", examples=[404])
    detail: str = Field(
        description="What happened this time.",
        examples=["There is no folder 'my-model' below the model root."],
    )
    hint: str = Field("", description="What to do.", examples=["GET /api/v1/models lists what there is."])
    code: str = Field(description="Stable short name of the kind.", examples=["model-not-found"])
    errors: list[FieldProblem] = Field(
        default_factory=list,
        description="The fields of the request that it is about, each with what is wrong.",
        examples=[[{"field": "body.tokens", "message": "Input should be greater than 0"}]],
    )

    @classmethod
    def of(cls, error: WasserscopeError) -> Problem:
        """The problem that tells of `error`."""
        return cls(
            type=f"urn:wasserscope:problem:{error.code}",
            title=error.title,
            status=error.status,
            detail=error.detail,
            hint=error.hint,
            code=error.code,
            errors=[FieldProblem(field=one.field, message=one.message) for one in error.errors],
        )

    def to_error(self) -> WasserscopeError:
        """The exception this problem was made from."""
        errors = [FieldError(one.field, one.message) for one in self.errors]
        return error_from_code(self.code, self.detail, hint=self.hint, errors=errors)
