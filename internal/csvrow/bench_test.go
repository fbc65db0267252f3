package csvrow_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"

	"exportd/internal/csvrow"
	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/jobs"
)

// benchTexts are messages as people write them.
var benchTexts = []string{
	"hi",
	"Can I change the card that my deposits come from?",
	"thanks, that worked! One more thing: my bonus from yesterday is still pending, could you have a look?",
	"Добрый день, подскажите, пожалуйста, когда придёт вывод средств?",
	"she said \"please wait\" and then the chat closed",
	"first line\nsecond line\nthird line",
	"出金の手続きはどのくらい時間がかかりますか。",
	"I have been a customer here since 2019 and never had a problem with a withdrawal before this week",
	"ok 👍",
	"¿Cuándo se acredita el bono de bienvenida?",
}

const benchRows = 1000

// benchData is rows of a kind: their documents and their decoded fields.
func benchData(kind jobs.Kind) (docs [][]byte, rows []map[string]any) {
	base := time.Date(2026, 6, 1, 12, 0, 0, 678901000, time.UTC)
	for i := range benchRows {
		at := base.Add(time.Duration(i) * 17 * time.Second)
		fields := map[string]any{
			"workspaceId": "ws-4f0c2a9be1", "mediumId": "ch-77d01c", "playerId": fmt.Sprintf("player-%07d", i*7919%1_000_000),
			"displayName": "Jordan Example",
		}
		if kind == "vip-messages" {
			fields["timestamp"], fields["kind"], fields["source"] = at, "text", "user"
			fields["text"] = benchTexts[i%len(benchTexts)]
			fields["labels"] = []any{"complaint", "ai_x81hd02h"}[:i%3]
		} else {
			fields["avatarUrl"] = "https://cdn.example.com/avatars/" + strconv.Itoa(i) + ".png"
			fields["language"], fields["country"], fields["currency"], fields["tier"] = "en", "CZ", "EUR", "gold"
			fields["ltv"], fields["tags"] = float64(i*i)/100, []any{"whale", "weekly"}
			fields["firstSeenAt"], fields["lastSeenAt"] = at, at.Add(time.Hour)
			fields["hasBirthday"], fields["birthdayMonth"] = true, int64(3)
			fields["personalInfo"] = map[string]any{
				"fullName": "Jordan Q. Example", "gender": "f", "birthday": "1990-03-14",
				"email": "jordan@example.com", "phone": "555-0100", "city": "Brno",
			}
		}
		rows = append(rows, fields)
		docs = append(docs, csvrowtest.Document(fmt.Sprintf("projects/exportd/databases/(default)/documents/VipMessages/%020d", i), fields))
	}
	return docs, rows
}

// cells are the texts of a row as a careful handler would make them for encoding/csv: by the rules of this
// package, with the standard library.
func cells(kind jobs.Kind, id string, m map[string]any, record []string) []string {
	text := func(v any) string { s, _ := v.(string); return clean(s) }
	at := func(v any) string { return v.(time.Time).Format("2006-01-02T15:04:05.000000Z") }
	if kind == "vip-messages" {
		return append(record, text(id), at(m["timestamp"]), text(m["playerId"]), text(m["displayName"]), text(m["kind"]), text(m["source"]),
			text(m["text"]), list(m["labels"]))
	}
	p := m["personalInfo"].(map[string]any)
	return append(record, text(id), text(m["playerId"]), text(m["displayName"]), text(m["avatarUrl"]), text(m["language"]), text(m["country"]),
		strconv.FormatFloat(m["ltv"].(float64), 'f', -1, 64), text(m["currency"]), text(m["tier"]), list(m["tags"]), at(m["firstSeenAt"]), at(m["lastSeenAt"]),
		text(p["fullName"]), text(p["gender"]), text(p["birthday"]), text(p["email"]), text(p["phone"]), text(p["city"]))
}

func clean(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\u2400")
	}
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	if begin := strings.TrimLeft(s, " "); begin != "" && strings.IndexByte("=+-@\t\r", begin[0]) >= 0 {
		s = "'" + s
	}
	return s
}

func list(v any) string {
	var texts []string
	for _, v := range v.([]any) {
		text := v.(string)
		if strings.ContainsAny(text, `;\`) {
			text = strings.NewReplacer(`\`, `\\`, `;`, `\;`).Replace(text)
		}
		texts = append(texts, text)
	}
	return clean(strings.Join(texts, ";"))
}

// BenchmarkEncode compares ways to the same rows; each reports ns/row and MB/s of CSV.
//
//	row      this package, from wire bytes
//	cells    this package, from values that are found in wire bytes
//	document encoding/csv, from wire bytes by way of the generated types
//	values   encoding/csv, from decoded values, to the same bytes
//	strings  encoding/csv, from cells that are strings already
//	memcpy   copying the finished rows: the limit
func BenchmarkEncode(b *testing.B) {
	for _, kind := range kinds {
		docs, rows := benchData(kind)
		e := csvrow.NewEncoder(dataset.BuiltIn.Get(string(kind)), csvrow.Options{FormulaGuard: true})
		var file []byte
		var ends []int
		for _, doc := range docs {
			file, _ = e.AppendRow(file, doc)
			ends = append(ends, len(file))
		}
		var records [][]string
		for i := range rows {
			records = append(records, cells(kind, fmt.Sprintf("%020d", i), rows[i], nil))
		}
		sameBytes(b, records, file)
		run := func(name string, fn func(i int)) {
			b.Run(string(kind)+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(file) / benchRows))
				b.ReportAllocs()
				for i := 0; b.Loop(); i = (i + 1) % benchRows {
					fn(i)
				}
			})
		}
		dst := make([]byte, 0, 1<<20)
		run("row", func(i int) {
			if i == 0 {
				dst = dst[:0]
			}
			dst, _ = e.AppendRow(dst, docs[i])
		})
		split := make([]csvrow.Row, benchRows)
		for i, doc := range docs {
			if err := e.Split(&split[i], doc); err != nil {
				b.Fatal(err)
			}
		}
		run("cells", func(i int) {
			if i == 0 {
				dst = dst[:0]
			}
			dst, _ = e.AppendCells(dst, &split[i])
		})
		var out bytes.Buffer
		w := csv.NewWriter(&out)
		var record []string
		run("values", func(i int) {
			if i == 0 {
				out.Reset()
			}
			record = cells(kind, "00000000000000000000", rows[i], record[:0])
			_ = w.Write(record)
		})
		run("document", func(i int) {
			if i == 0 {
				out.Reset()
			}
			doc := new(firestorepb.Document)
			if err := proto.Unmarshal(docs[i], doc); err != nil {
				b.Fatal(err)
			}
			fields := make(map[string]any, len(doc.GetFields()))
			for name, v := range doc.GetFields() {
				fields[name] = goValue(v)
			}
			record = cells(kind, doc.GetName()[strings.LastIndexByte(doc.GetName(), '/')+1:], fields, record[:0])
			_ = w.Write(record)
		})
		run("strings", func(i int) {
			if i == 0 {
				out.Reset()
			}
			_ = w.Write(records[i])
		})
		run("memcpy", func(i int) {
			if i == 0 {
				dst = dst[:0]
			}
			from := 0
			if i > 0 {
				from = ends[i-1]
			}
			dst = append(dst, file[from:ends[i]]...)
		})
	}
}

// sameBytes checks that encoding/csv makes the same file of the records.
func sameBytes(b *testing.B, records [][]string, file []byte) {
	b.Helper()
	var want []byte
	for _, record := range records {
		var row bytes.Buffer
		w := csv.NewWriter(&row)
		if err := w.Write(record); err != nil {
			b.Fatal(err)
		}
		w.Flush()
		want = append(append(want, bytes.TrimSuffix(row.Bytes(), []byte("\n"))...), "\r\n"...)
	}
	if !bytes.Equal(file, want) {
		b.Fatal("the files differ")
	}
}

// goValue decodes a value as the official client does.
func goValue(v *firestorepb.Value) any {
	switch v := v.GetValueType().(type) {
	case *firestorepb.Value_StringValue:
		return v.StringValue
	case *firestorepb.Value_BooleanValue:
		return v.BooleanValue
	case *firestorepb.Value_IntegerValue:
		return v.IntegerValue
	case *firestorepb.Value_DoubleValue:
		return v.DoubleValue
	case *firestorepb.Value_TimestampValue:
		return v.TimestampValue.AsTime()
	case *firestorepb.Value_ArrayValue:
		list := make([]any, len(v.ArrayValue.GetValues()))
		for i, element := range v.ArrayValue.GetValues() {
			list[i] = goValue(element)
		}
		return list
	case *firestorepb.Value_MapValue:
		m := make(map[string]any, len(v.MapValue.GetFields()))
		for name, value := range v.MapValue.GetFields() {
			m[name] = goValue(value)
		}
		return m
	}
	return nil
}
