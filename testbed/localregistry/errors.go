package localregistry

import (
	"fmt"
	"net/http"
)

// apiError is an answer in Confluent's form. Its code's first three digits are
// the HTTP status.
type apiError struct {
	Code    int    `json:"error_code"`
	Message string `json:"message"`
}

func (e *apiError) Error() string { return e.Message }

func (e *apiError) status() int {
	status := e.Code
	for status > 999 {
		status /= 10
	}
	return status
}

// Codes of io.confluent.kafka.schemaregistry.rest.exceptions.Errors.
const (
	codeSubjectNotFound       = 40401
	codeVersionNotFound       = 40402
	codeSchemaNotFound        = 40403
	codeSubjectSoftDeleted    = 40404
	codeSubjectNotSoftDeleted = 40405
	codeVersionSoftDeleted    = 40406
	codeVersionNotSoftDeleted = 40407
	codeLevelNotConfigured    = 40408
	codeIncompatible          = http.StatusConflict
	codeInvalidSchema         = 42201
	codeInvalidVersion        = 42202
	codeInvalidLevel          = 42203
	codeOperationNotPermitted = 42205
	codeStoreFailed           = 50001
	codeMalformedRequest      = 40001
	codeNoSuchResource        = 40400
)

func subjectNotFound(subject string) error {
	return &apiError{codeSubjectNotFound, fmt.Sprintf("Subject '%s' not found.", subject)}
}

func versionNotFound(version string) error {
	return &apiError{codeVersionNotFound, fmt.Sprintf("Version %s not found.", version)}
}

func schemaNotFound(id string) error {
	return &apiError{codeSchemaNotFound, fmt.Sprintf("Schema %s not found", id)}
}
