package csvrow_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"exportd/internal/csvrow"
	"exportd/internal/csvrow/csvrowtest"
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
		if kind == jobs.KindMessages {
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

// cells are the texts of a row as a handler would make them for encoding/csv.
func cells(kind jobs.Kind, id string, m map[string]any, record []string) []string {
	s := func(v any) string { text, _ := v.(string); return text }
	list := func(v any) string {
		var texts []string
		for _, v := range v.([]any) {
			texts = append(texts, v.(string))
		}
		return strings.Join(texts, ";")
	}
	at := func(v any) string { return v.(time.Time).Format("2006-01-02T15:04:05.000000Z") }
	if kind == jobs.KindMessages {
		return append(record, id, at(m["timestamp"]), s(m["playerId"]), s(m["displayName"]), s(m["kind"]), s(m["source"]), s(m["text"]), list(m["labels"]))
	}
	p := m["personalInfo"].(map[string]any)
	return append(record, id, s(m["playerId"]), s(m["displayName"]), s(m["avatarUrl"]), s(m["language"]), s(m["country"]),
		strconv.FormatFloat(m["ltv"].(float64), 'f', -1, 64), s(m["currency"]), s(m["tier"]), list(m["tags"]), at(m["firstSeenAt"]), at(m["lastSeenAt"]),
		s(p["fullName"]), s(p["gender"]), s(p["birthday"]), s(p["email"]), s(p["phone"]), s(p["city"]))
}

// BenchmarkEncode compares ways to the same rows; each reports ns/row and MB/s of CSV.
//
//	row      this package, from wire bytes
//	values   encoding/csv, from decoded values
//	strings  encoding/csv, from cells that are strings already
//	memcpy   copying the finished rows: the limit
func BenchmarkEncode(b *testing.B) {
	for _, kind := range kinds {
		docs, rows := benchData(kind)
		e := csvrow.NewEncoder(kind, csvrow.Options{FormulaGuard: true})
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
