package e2etest

import (
	"bytes"
	"cmp"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/demo"
	"exportd/jobs"
)

// Row is a document as the slow way sees it.
type Row struct {
	ID     string
	Fields map[string]any
}

// Stored returns the rows of the demo's main workspace as they were given to Firestore: all users that have
// an ltv, or the messages of the widest window, in the order of the list routes. They come from the generator
// of the data, not from any database.
func (s *Stack) Stored(tb testing.TB, kind jobs.Kind) []Row {
	tb.Helper()
	to, err := time.Parse(time.DateOnly, s.To)
	if err != nil {
		tb.Fatal(err)
	}
	end := to.AddDate(0, 0, 1)
	data, err := demo.Generate(demo.Options{Seed: 1, Users: s.Sizes.Users, Messages: s.Sizes.Messages, Now: end})
	if err != nil {
		tb.Fatal(err)
	}
	begin, collection, documents := end.AddDate(0, 0, -31), "VipUsers/", data.Users()
	if kind == "vip-messages" {
		collection, documents = "VipMessages/", data.Messages()
	}
	var rows []Row
	for d := range documents {
		fields := Decode(d.Fields)
		if fields["workspaceId"] != s.WorkspaceID || fields["mediumId"] != s.MediumID {
			continue
		}
		if kind == "vip-messages" {
			at, ok := fields["timestamp"].(time.Time)
			if !ok || at.Before(begin) || !at.Before(end) {
				continue
			}
		} else if _, ok := fields["ltv"]; !ok {
			continue
		}
		rows = append(rows, Row{strings.TrimPrefix(d.Path, collection), fields})
	}
	slices.SortFunc(rows, func(a, b Row) int {
		if kind == "vip-messages" {
			return cmp.Or(b.Fields["timestamp"].(time.Time).Compare(a.Fields["timestamp"].(time.Time)), cmp.Compare(a.ID, b.ID))
		}
		return cmp.Or(number(b.Fields["ltv"]).Cmp(number(a.Fields["ltv"])), cmp.Compare(a.ID, b.ID))
	})
	return rows
}

// number is exact for integers above 2^53, which a double is not.
func number(v any) *big.Float {
	switch v := v.(type) {
	case int64:
		return new(big.Float).SetInt64(v)
	case float64:
		if !math.IsNaN(v) {
			return big.NewFloat(v)
		}
	}
	return big.NewFloat(math.Inf(-1))
}

// File is the CSV file of rows by the judge of package csvrow: encoding/csv over decoded values, no code
// shared with what it judges.
func File(kind jobs.Kind, rows []Row, guard bool) (file []byte, guarded int64) {
	var b bytes.Buffer
	first, others, _ := strings.Cut(Header(kind), ",")
	b.WriteString(first + `,"` + strings.ReplaceAll(others, ",", `","`) + "\"\r\n")
	for _, r := range rows {
		row, n := csvrowtest.Row(kind, r.ID, r.Fields, guard)
		b.Write(row)
		guarded += n
	}
	return b.Bytes(), guarded
}

// Decode turns the fields of a document into the values that csvrowtest takes.
func Decode(fields map[string]*firestorepb.Value) map[string]any {
	m := make(map[string]any, len(fields))
	for name, v := range fields {
		m[name] = decode(v)
	}
	return m
}

func decode(v *firestorepb.Value) any {
	switch v := v.GetValueType().(type) {
	case *firestorepb.Value_BooleanValue:
		return v.BooleanValue
	case *firestorepb.Value_IntegerValue:
		return v.IntegerValue
	case *firestorepb.Value_DoubleValue:
		return v.DoubleValue
	case *firestorepb.Value_TimestampValue:
		return v.TimestampValue.AsTime().Truncate(time.Microsecond) // as Firestore stores it
	case *firestorepb.Value_StringValue:
		return v.StringValue
	case *firestorepb.Value_BytesValue:
		return v.BytesValue
	case *firestorepb.Value_ReferenceValue:
		return csvrowtest.Ref(v.ReferenceValue)
	case *firestorepb.Value_GeoPointValue:
		return csvrowtest.Geo{Latitude: v.GeoPointValue.GetLatitude(), Longitude: v.GeoPointValue.GetLongitude()}
	case *firestorepb.Value_ArrayValue:
		list := make([]any, len(v.ArrayValue.GetValues()))
		for i, element := range v.ArrayValue.GetValues() {
			list[i] = decode(element)
		}
		return list
	case *firestorepb.Value_MapValue:
		return Decode(v.MapValue.GetFields())
	}
	return nil
}

// Header are the documented names of the columns of a kind, written out here on purpose. In a file they are
// quoted.
func Header(kind jobs.Kind) string {
	if kind == "vip-messages" {
		return "id,timestamp,playerId,displayName,kind,source,text,labels"
	}
	return "id,playerId,displayName,avatarUrl,language,country,ltv,currency,tier,tags,firstSeenAt,lastSeenAt," +
		"fullName,gender,birthday,email,phone,city"
}
