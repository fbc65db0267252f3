package e2etest

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// user and message are rows of the list routes, with numbers as they are written.
type user struct {
	ID, PlayerID, DisplayName, AvatarURL, Language, Country string
	LTV                                                     any
	Currency, Tier                                          string
	Tags                                                    []string
	FirstSeenAt, LastSeenAt                                 *string
	PersonalInfo                                            struct {
		FullName, Gender, Email, Phone, City string
		Birthday                             *string
	}
}

type message struct {
	ID, Timestamp, PlayerID, DisplayName, Kind, Source, Text string
	Labels                                                   []string
}

// ListAll pages a list route ("vip-users" or "vip-messages") to its end and returns its rows as an export
// without formula guard should have them, without the header. total is the route's own count of users, -1 for
// messages.
func (c *Client) ListAll(tb testing.TB, kind string, query url.Values) (rows [][]string, total int) {
	tb.Helper()
	query = maps.Clone(query)
	query.Set("limit", "200")
	for {
		r := c.Get(tb, "/"+kind, query).Want(tb, http.StatusOK)
		if kind == "vip-messages" {
			var page struct {
				Messages   []message
				NextCursor *string
			}
			r.JSON(tb, &page)
			for _, m := range page.Messages {
				rows = append(rows, m.cells())
			}
			if page.NextCursor == nil {
				return rows, -1
			}
			query.Set("before", *page.NextCursor)
			continue
		}
		var page struct {
			Users      []user
			NextOffset *int
			Total      int
		}
		r.JSON(tb, &page)
		for _, u := range page.Users {
			rows = append(rows, u.cells())
		}
		if page.NextOffset == nil {
			return rows, page.Total
		}
		if *page.NextOffset != len(rows) {
			tb.Fatalf("nextOffset = %d after %d rows", *page.NextOffset, len(rows))
		}
		query.Set("offset", strconv.Itoa(*page.NextOffset))
	}
}

func (m message) cells() []string {
	return visible(m.ID, m.Timestamp, m.PlayerID, m.DisplayName, m.Kind, m.Source, m.Text, Join(m.Labels))
}

func (u user) cells() []string {
	ltv := ""
	switch v := u.LTV.(type) {
	case json.Number:
		ltv = v.String()
	case string:
		ltv = v
	}
	p := u.PersonalInfo
	return visible(u.ID, u.PlayerID, u.DisplayName, u.AvatarURL, u.Language, u.Country, ltv, u.Currency, u.Tier, Join(u.Tags),
		orEmpty(u.FirstSeenAt), orEmpty(u.LastSeenAt), p.FullName, p.Gender, orEmpty(p.Birthday), p.Email, p.Phone, p.City)
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// visible is the documented rule for NUL, the one character that a file cannot have.
func visible(cells ...string) []string {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "\x00", "\u2400")
	}
	return cells
}

// Join is the documented rule for lists: joined with semicolons, those inside escaped.
func Join(list []string) string {
	escaped := make([]string, len(list))
	for i, s := range list {
		escaped[i] = strings.NewReplacer(`\`, `\\`, `;`, `\;`).Replace(s)
	}
	return strings.Join(escaped, ";")
}
