// Package vip is the domain of what exportd exports: workspaces, channels, VIP
// users and VIP messages, the query that a filter means, and places in the
// order of its rows. List routes and exports both go through [NewQuery], so
// they cannot disagree about which rows there are or how they are ordered.
//
// The package knows no SDK. Documents are read from their protobuf bytes, see
// package wire for the rule that turns stored values into text.
package vip

// Workspace is a document of the collection Workspaces.
type Workspace struct {
	ID         string   `json:"id"`
	OrgID      string   `json:"-"`
	Name       string   `json:"name"`
	IsVIP      bool     `json:"isVip"`
	ChannelIDs []string `json:"channelIds"`
}

// Channel is a document of the collection Channels.
type Channel struct {
	ID           string   `json:"id"`
	OrgID        string   `json:"-"`
	Name         string   `json:"name"`
	Platform     string   `json:"platform"`
	WorkspaceIDs []string `json:"workspaceIds"`
}

// User is a row of the list of VIP users. Its texts are those of the exported
// cells before CSV's own rules (guard, quotes, NUL): what is missing is "",
// but null for the times and the birthday.
type User struct {
	ID           string       `json:"id"`
	PlayerID     string       `json:"playerId"`
	DisplayName  string       `json:"displayName"`
	AvatarURL    string       `json:"avatarUrl"`
	Language     string       `json:"language"`
	Country      string       `json:"country"`
	LTV          Number       `json:"ltv"`
	Currency     string       `json:"currency"`
	Tier         string       `json:"tier"`
	Tags         []string     `json:"tags"`
	FirstSeenAt  *string      `json:"firstSeenAt"`
	LastSeenAt   *string      `json:"lastSeenAt"`
	PersonalInfo PersonalInfo `json:"personalInfo"`
}

// PersonalInfo is what is known of a user in person. Birthday is YYYY-MM-DD.
type PersonalInfo struct {
	FullName string  `json:"fullName"`
	Gender   string  `json:"gender"`
	Birthday *string `json:"birthday"`
	Email    string  `json:"email"`
	Phone    string  `json:"phone"`
	City     string  `json:"city"`
}

// Message is a row of the list of VIP messages; see [User] for its texts.
type Message struct {
	ID          string   `json:"id"`
	Timestamp   string   `json:"timestamp"`
	PlayerID    string   `json:"playerId"`
	DisplayName string   `json:"displayName"`
	Kind        string   `json:"kind"`
	Source      string   `json:"source"`
	Text        string   `json:"text"`
	Labels      []string `json:"labels"`
}

// Number is the text of a number, which stays exact whatever its size. Where a
// document holds something else in its place, that is the text it is exported as.
type Number string

// MarshalJSON gives a JSON number where n is one, null where it is empty, and a
// string for the rest (NaN, infinities, a value of another type).
func (n Number) MarshalJSON() ([]byte, error) {
	switch {
	case n == "":
		return []byte("null"), nil
	case isJSONNumber(string(n)):
		return []byte(n), nil
	}
	return marshalString(string(n))
}
