package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"exportd/api/client"
)

// layout is how rows of a dataset look in a table: what people look for first, which no declaration knows.
type layout struct {
	one, many string // of what
	columns   []column
	row       func(json.RawMessage) ([]cell, error)
}

// layouts are by dataset. Rows of others are shown as they came.
var layouts = map[string]layout{
	"vip-users": {one: "user", many: "users", row: userRow, columns: []column{
		{name: "USER"}, {name: "NAME", flexible: true}, {name: "LTV", right: true}, {name: ""}, {name: "TIER"},
		{name: "BIRTHDAY", extra: true}, {name: "COUNTRY", extra: true}, {name: "PLAYER", flexible: true, extra: true},
	}},
	"vip-messages": {one: "message", many: "messages", row: messageRow, columns: []column{
		{name: "TIME (UTC)"}, {name: "NAME", flexible: true}, {name: "TEXT", flexible: true}, {name: "LABELS", flexible: true, extra: true},
		{name: "FROM"}, {name: "KIND", extra: true}, {name: "PLAYER", flexible: true, extra: true},
	}},
}

func userRow(raw json.RawMessage) ([]cell, error) {
	var u client.User
	err := json.Unmarshal(raw, &u)
	return []cell{
		words(u.ID), words(u.DisplayName), money(u.LTV), words(u.Currency), words(u.Tier), optional(u.PersonalInfo.Birthday), words(u.Country), words(u.PlayerID),
	}, err
}

func messageRow(raw json.RawMessage) ([]cell, error) {
	var m client.Message
	err := json.Unmarshal(raw, &m)
	return []cell{
		moment(m.Timestamp), words(m.DisplayName), words(m.Text), words(strings.Join(m.Labels, ",")), words(m.Source), words(m.Kind), words(m.PlayerID),
	}, err
}

// money shows an LTV, which is any number or, where the source holds something else, text.
func money(v *any) cell {
	if v == nil {
		return cell{}
	}
	switch n, ok := (*v).(float64); {
	case !ok:
		return words(fmt.Sprint(*v))
	case math.Abs(n) < 1e12:
		return words(strconv.FormatFloat(n, 'f', 2, 64))
	default:
		return words(strconv.FormatFloat(n, 'g', -1, 64))
	}
}

// moment is instant for a time in text; what is none stays as it is.
func moment(s string) cell {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return instant(&t)
	}
	return words(s)
}
