package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"
)

// Kind names what an export reads. The values are the route names callers see.
type Kind string

// The kinds of export there are.
const (
	KindUsers    Kind = "vip-users"
	KindMessages Kind = "vip-messages"
)

// Valid reports whether k is a kind that this version can carry out.
func (k Kind) Valid() bool { return k == KindUsers || k == KindMessages }

// Filter says which rows of a kind are meant. List routes and exports share it, so
// that they cannot disagree. Fields that a kind does not know stay zero.
type Filter struct {
	WorkspaceID string `firestore:"workspaceId" json:"workspaceId"`
	MediumID    string `firestore:"mediumId" json:"mediumId"`

	// Users: only those with a known birthday; BirthdayMonth (1..12, 0 is any) implies it.
	HasBirthday   bool `firestore:"hasBirthday,omitempty" json:"hasBirthday,omitempty"`
	BirthdayMonth int  `firestore:"birthdayMonth,omitempty" json:"birthdayMonth,omitempty"`

	// Messages: the half-open window [From, To), UTC, to the microsecond.
	From time.Time `firestore:"from,omitempty" json:"from,omitzero"`
	To   time.Time `firestore:"to,omitempty" json:"to,omitzero"`
	// Label is a built-in label value or a custom label id; ContentType one of text,
	// postback, attachment, other. Empty is any.
	Label       string `firestore:"label,omitempty" json:"label,omitempty"`
	ContentType string `firestore:"contentType,omitempty" json:"contentType,omitempty"`
}

// Profile is the dialect of CSV that a file is written in.
type Profile string

// The profiles: RFC 4180 as it stands, or the same behind a byte order mark, which
// is how Excel is told that a file is UTF-8.
const (
	ProfileRFC4180 Profile = "rfc4180"
	ProfileExcel   Profile = "excel"
)

// Params is an export request after validation and normalisation: two requests that
// mean the same rows and the same bytes have equal Params.
type Params struct {
	Filter
	Profile Profile `firestore:"profile" json:"profile"`
	// FormulaGuard puts a ' before text that a spreadsheet would take for a formula.
	FormulaGuard bool `firestore:"formulaGuard" json:"formulaGuard"`
}

// Fingerprint identifies what a request asks for: org, kind, parameters and the
// version of the file's schema. Requests with equal fingerprints share a job.
func Fingerprint(orgID string, kind Kind, p Params) string {
	p.From, p.To = p.From.UTC(), p.To.UTC()
	// A struct of strings, numbers and times always marshals, fields in order.
	body, _ := json.Marshal(struct {
		Schema int
		Org    string
		Kind   Kind
		Params Params
	}{SchemaVersion, orgID, kind, p})
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// PartID is the document id of part index of the plan made at epoch. Zero-padded, so
// that ids sort as the parts do: 100,000 parts of 50,000 rows are 5e9 rows.
func PartID(planEpoch int64, index int) string {
	i := strconv.Itoa(index)
	for len(i) < 5 {
		i = "0" + i
	}
	return strconv.FormatInt(planEpoch, 10) + "-" + i
}
