// Package vip is the platform that exportd exports from: workspaces and channels, the gate before their rows,
// queries for rows and places in their order.
//
// The package knows no SDK. Documents are read from their protobuf bytes, see package wire for the rule that
// turns stored values into text.
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
