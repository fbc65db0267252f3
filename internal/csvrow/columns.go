package csvrow

import "exportd/jobs"

// The columns of a file, in order. A column is a field of the document of the
// same name but for id (the last segment of the document's name) and those of
// personalInfo, which are fields of that map. Order and names are part of the
// file's schema: a change raises jobs.SchemaVersion.
var (
	userColumns = []string{
		"id", "playerId", "displayName", "avatarUrl", "language", "country", "ltv", "currency", "tier", "tags",
		"firstSeenAt", "lastSeenAt", "fullName", "gender", "birthday", "email", "phone", "city",
	}
	messageColumns = []string{"id", "timestamp", "playerId", "displayName", "kind", "source", "text", "labels"}
)

const (
	maxColumns = 18 // of any kind

	none         = -1 // a field without a column
	personalInfo = -2 // the map of users whose fields have columns

	listUsers     = 9  // tags
	listMessages  = 7  // labels
	firstOfPerson = 12 // fullName
)

// fields are the fields that a document or a map may have.
type fields uint8

const (
	messageFields fields = iota
	userFields
	personFields // of personalInfo
)

// column is the column of a field, or none, or personalInfo.
func (f fields) column(key []byte) int {
	switch f {
	case messageFields:
		return messageColumn(key)
	case userFields:
		return userColumn(key)
	}
	return personColumn(key)
}

// Columns returns the header cells of a kind, nil for an unknown one.
func Columns(kind jobs.Kind) []string {
	switch kind {
	case jobs.KindUsers:
		return append([]string(nil), userColumns...)
	case jobs.KindMessages:
		return append([]string(nil), messageColumns...)
	}
	return nil
}

// userColumn is the column of a user's field. A switch on a converted byte
// slice neither allocates nor hashes.
func userColumn(key []byte) int {
	switch string(key) {
	case "playerId":
		return 1
	case "displayName":
		return 2
	case "avatarUrl":
		return 3
	case "language":
		return 4
	case "country":
		return 5
	case "ltv":
		return 6
	case "currency":
		return 7
	case "tier":
		return 8
	case "tags":
		return listUsers
	case "firstSeenAt":
		return 10
	case "lastSeenAt":
		return 11
	case "personalInfo":
		return personalInfo
	}
	return none
}

// personColumn is the column of a field of personalInfo.
func personColumn(key []byte) int {
	switch string(key) {
	case "fullName":
		return 12
	case "gender":
		return 13
	case "birthday":
		return 14
	case "email":
		return 15
	case "phone":
		return 16
	case "city":
		return 17
	}
	return none
}

// messageColumn is the column of a message's field.
func messageColumn(key []byte) int {
	switch string(key) {
	case "timestamp":
		return 1
	case "playerId":
		return 2
	case "displayName":
		return 3
	case "kind":
		return 4
	case "source":
		return 5
	case "text":
		return 6
	case "labels":
		return listMessages
	}
	return none
}
