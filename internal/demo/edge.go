package demo

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/genproto/googleapis/type/latlng"
)

// edgeMessages are the rows made by hand: the records of csv-hazard-records.json, other mistyped fields, the
// ends of the widest window, and in the side workspace the long texts.
func (d *Dataset) edgeMessages() []Document {
	var out []Document
	add := func(at place, when time.Time, changes fields) {
		out = append(out, d.edgeMessage(at, len(out), when, changes))
	}
	main, side := d.directory.main, d.directory.side
	start, end := d.options.windowStart(), d.options.Now
	noon := end.Add(-3*24*time.Hour + 12*time.Hour)

	add(main, start.Add(-time.Microsecond), fields{"text": text("last instant before the window")})
	add(main, start, fields{"text": text("first instant of the window")})
	add(main, start.Add(time.Microsecond), fields{"text": text("second instant of the window")})
	add(main, end.Add(-24*time.Hour-time.Millisecond), fields{"text": text("last millisecond of a day")})
	add(main, end.Add(-time.Microsecond), fields{"text": text("last instant of the window")})
	add(main, end, fields{"text": text("first instant after the window")})
	add(main, noon, fields{"text": text("a whole second, no microseconds")})
	for i, record := range d.corpus.records {
		changes, valid := recordFields(record)
		if valid {
			add(main, noon.Add(time.Duration(i)*time.Microsecond), changes)
		}
	}
	for i, changes := range mistypedMessages() {
		add(main, noon.Add(time.Hour+time.Duration(i/2)*time.Microsecond), changes)
	}
	for i := range d.corpus.long {
		add(side, noon.Add(time.Duration(i)*time.Minute), fields{
			"text": text(*d.corpus.long[i].Text), "displayName": text(d.corpus.long[i].ID),
		})
	}
	return out
}

// edgeMessage is a sound message with some fields changed; a nil value takes the field away.
func (d *Dataset) edgeMessage(at place, i int, when time.Time, changes fields) Document {
	f := fields{
		"workspaceId": text(at.workspace),
		"mediumId":    text(at.medium),
		"timestamp":   instant(when),
		"kind":        text("text"),
		"source":      text("user"),
		"playerId":    text(fmt.Sprintf("edge-%03d", i)),
		"displayName": text("Edge"),
		"text":        text("x"),
		"labels":      texts(EdgeLabel),
	}
	change(f, changes)
	return Document{"VipMessages/" + documentID(d.options.Seed, "edge-message/id", i), f}
}

func change(f, changes fields) {
	for name, value := range changes {
		if value == nil {
			delete(f, name)
		} else {
			f[name] = value
		}
	}
}

// recordFields puts a hand-made record into the fields that messages have: its id becomes playerId,
// created_at timestamp, user.name displayName, tags labels; other names stay. Firestore has no empty field
// name: such a record is left out.
func recordFields(record map[string]any) (f fields, valid bool) {
	names := map[string]string{"id": "playerId", "created_at": "timestamp", "user": "displayName", "tags": "labels"}
	f = fields{"text": nil, "playerId": nil}
	for name, value := range record {
		if name == "" {
			return nil, false
		}
		if known, ok := names[name]; ok {
			name = known
		}
		f[name] = fromJSON(value)
		if user, ok := value.(map[string]any); ok && user["name"] != nil {
			f[name] = fromJSON(user["name"])
		}
		if written, ok := value.(string); ok && name == "timestamp" {
			if when, err := time.Parse(time.RFC3339Nano, written); err == nil {
				f[name] = instant(when)
			}
		}
	}
	return f, true
}

func fromJSON(value any) *firestorepb.Value {
	switch v := value.(type) {
	case string:
		return text(v)
	case bool:
		return boolean(v)
	case json.Number:
		if i, err := v.Int64(); err == nil && v.String() != "-0" {
			return integer(i)
		}
		f, _ := v.Float64() // the files hold valid numbers; out of range gives infinity, which is storable
		return double(f)
	case []any:
		values := make([]*firestorepb.Value, len(v))
		for i := range v {
			values[i] = fromJSON(v[i])
		}
		return list(values...)
	case map[string]any:
		f := fields{}
		for name, inner := range v {
			f[name] = fromJSON(inner)
		}
		return mapping(f)
	default:
		return null()
	}
}

// mistypedMessages are types that no reader expects but Firestore stores.
func mistypedMessages() []fields {
	point := &firestorepb.Value{ValueType: &firestorepb.Value_GeoPointValue{GeoPointValue: &latlng.LatLng{Latitude: 52.5, Longitude: -13.25}}}
	raw := &firestorepb.Value{ValueType: &firestorepb.Value_BytesValue{BytesValue: []byte{0, 0xff, '"', ',', '\n'}}}
	return []fields{
		{"text": text("labels are one string"), "labels": text(EdgeLabel)},
		{"text": text("labels are null"), "labels": null()},
		{"text": text("labels are missing"), "labels": nil},
		{"text": text("labels of mixed types"), "labels": list(text(EdgeLabel), integer(7), null(), boolean(true), mapping(fields{"id": text("x")}))},
		{"text": text("labels with the joiner and quotes inside"), "labels": texts(EdgeLabel, "a;b", "c,d", "e\"f", "g\nh", "=1+1", "")},
		{"text": text("the same label twice"), "labels": texts(EdgeLabel, EdgeLabel)},
		{"text": text("a label list that starts like a formula"), "labels": texts("=cmd", EdgeLabel)},
		{"text": text("unknown kind"), "kind": text("carousel")},
		{"text": text("kind in capitals"), "kind": text("TEXT")},
		{"text": text("kind is null"), "kind": null()},
		{"text": text("kind is missing"), "kind": nil},
		{"text": text("source is missing"), "source": nil},
		{"text": text("source is a number"), "source": integer(1)},
		{"text": text("display name is missing"), "displayName": nil},
		{"text": text("display name is null"), "displayName": null()},
		{"text": text("display name starts like a formula"), "displayName": text("=HYPERLINK(\"https://example.invalid/\",\"x\")")},
		{"text": text("player id of digits with leading zeros"), "playerId": text("0001234567890123")},
		{"text": text("player id is a number above 2^53"), "playerId": integer(9007199254740993)},
		{"text": raw},
		{"text": point},
		{"text": double(math.NaN())},
		{"text": double(math.Inf(-1))},
		{"text": instant(time.Date(2024, 2, 29, 23, 59, 59, 999_999_000, time.UTC))},
		{"text": integer(math.MinInt64)},
		{"text": text("before NUL\x00after NUL")},
		{"text": text("timestamp is missing"), "timestamp": nil},
		{"text": text("timestamp is a string"), "timestamp": text("2026-01-02T03:04:05Z")},
	}
}

// edgeUsers are hand-made users: sound ltv but odd profiles in the main workspace, an ltv that is no number
// in the side one.
func (d *Dataset) edgeUsers() []Document {
	var out []Document
	for _, changes := range d.oddProfiles() {
		out = append(out, d.edgeUser(d.directory.main, len(out), changes))
	}
	for _, changes := range mistypedLifetimeValues() {
		out = append(out, d.edgeUser(d.directory.side, len(out), changes))
	}
	return out
}

func (d *Dataset) edgeUser(at place, i int, changes fields) Document {
	f := fields{
		"workspaceId": text(at.workspace),
		"mediumId":    text(at.medium),
		"playerId":    text(fmt.Sprintf("edge-%03d", i)),
		"displayName": text("Edge"),
		"avatarUrl":   text(""),
		"language":    text("en"),
		"country":     text("US"),
		"ltv":         double(0),
		"currency":    text("USD"),
		"tier":        text("bronze"),
		"tags":        texts(),
		"firstSeenAt": instant(d.options.Now.Add(-history)),
		"lastSeenAt":  instant(d.options.windowStart()),
		"hasBirthday": boolean(false),
		"personalInfo": mapping(fields{
			"fullName": text("Edge Row"), "gender": text(""), "birthday": null(),
			"email": text("edge@example.org"), "phone": null(), "city": text(""),
		}),
	}
	change(f, changes)
	return Document{"VipUsers/" + documentID(d.options.Seed, "edge-user/id", i), f}
}

// oddProfiles has every hazard that breaks a cell or a formula guard as a display name, and profiles with
// fields missing, null or of another type.
func (d *Dataset) oddProfiles() []fields {
	var out []fields
	for _, h := range d.corpus.hazards {
		switch h.Category {
		case "delimiter", "quote", "newline", "formula", "formula-after", "formula-wide", "formula-benign", "bidi":
			out = append(out, fields{"displayName": text(*h.Text), "tags": texts(h.Category, *h.Text)})
		}
	}
	return append(out,
		fields{"ltv": integer(0), "displayName": text("ltv as an integer, equal to 0.0")},
		fields{"ltv": integer(100), "displayName": text("ltv as an integer, equal to 100.0")},
		fields{"ltv": integer(9007199254740993), "displayName": text("ltv above 2^53")},
		fields{"ltv": double(math.Copysign(0, -1)), "displayName": text("ltv is minus zero")},
		fields{"ltv": double(0.30000000000000004), "displayName": text("ltv of 17 digits")},
		fields{"ltv": double(1e21), "displayName": text("ltv that prints with an exponent")},
		fields{"ltv": double(-1234.5), "displayName": text("negative ltv: not a formula")},
		fields{"personalInfo": nil, "displayName": text("no personalInfo")},
		fields{"personalInfo": null(), "displayName": text("personalInfo is null")},
		fields{"personalInfo": mapping(fields{}), "displayName": text("personalInfo is empty")},
		fields{"personalInfo": text("Jo"), "displayName": text("personalInfo is a string")},
		fields{"personalInfo": mapping(fields{"fullName": text("=1+1"), "city": text("-"), "phone": integer(2025550100), "birthday": text("")})},
		fields{"personalInfo": mapping(fields{"fullName": null(), "email": list(text("a@example.com"), text("b@example.com"))})},
		fields{"hasBirthday": boolean(true), "birthdayMonth": integer(2), "personalInfo": mapping(fields{"birthday": text("0000-02-29")}), "displayName": text("birthday without a year")},
		fields{"hasBirthday": nil, "displayName": text("hasBirthday is missing")},
		fields{"hasBirthday": text("true"), "birthdayMonth": text("2"), "displayName": text("birthday fields are strings")},
		fields{"tags": nil, "displayName": text("no tags")},
		fields{"tags": null(), "displayName": text("tags are null")},
		fields{"tags": text("one"), "displayName": text("tags are a string")},
		fields{"firstSeenAt": null(), "lastSeenAt": nil, "displayName": text("no times")},
		fields{"firstSeenAt": text("yesterday"), "lastSeenAt": integer(1704067200123), "displayName": text("times of other types")},
		fields{"displayName": null(), "tier": null(), "currency": nil, "country": nil, "language": nil, "avatarUrl": nil, "playerId": nil},
		fields{"displayName": nil, "a,b": text("y"), "a\"b": text("y"), "=h": text("y"), "a\nb": text("y")},
	)
}

// mistypedLifetimeValues cannot be sorted among the others by number. The last one has none at all, so that a
// query ordered by ltv does not return it.
func mistypedLifetimeValues() []fields {
	return []fields{
		{"ltv": null(), "displayName": text("ltv is null")},
		{"ltv": double(math.NaN()), "displayName": text("ltv is NaN")},
		{"ltv": double(math.Inf(1)), "displayName": text("ltv is infinite")},
		{"ltv": text("99.99"), "displayName": text("ltv is a string")},
		{"ltv": mapping(fields{"amount": double(5), "currency": text("EUR")}), "displayName": text("ltv is a map")},
		{"ltv": nil, "displayName": text("ltv is missing")},
	}
}
