package parquetrow_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"exportd/internal/csvrow"
	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
	"exportd/internal/jsonrow"
	"exportd/internal/parquetrow"
)

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

func benchDocs(d *dataset.Dataset, n int) (docs [][]byte) {
	base := time.Date(2026, 6, 1, 12, 0, 0, 678901000, time.UTC)
	for i := range n {
		at := base.Add(time.Duration(i) * 17 * time.Second)
		fields := map[string]any{
			"workspaceId": "ws-4f0c2a9be1", "mediumId": "ch-77d01c", "playerId": fmt.Sprintf("player-%07d", i*7919%1_000_000),
			"displayName": fmt.Sprintf("Jordan Example %d", i%5000),
		}
		if d == dataset.VIPMessages {
			fields["timestamp"], fields["kind"], fields["source"] = at, "text", "user"
			fields["text"] = benchTexts[i%len(benchTexts)] + strconv.Itoa(i)
			fields["labels"] = []any{"complaint", "ai_x81hd02h"}[:i%3]
		} else {
			fields["avatarUrl"] = "https://cdn.example.com/avatars/" + strconv.Itoa(i) + ".png"
			fields["language"], fields["country"], fields["currency"], fields["tier"] = "en", "CZ", "EUR", "gold"
			fields["ltv"], fields["tags"] = float64(i*i)/100, []any{"whale", "weekly"}
			fields["firstSeenAt"], fields["lastSeenAt"] = at, at.Add(time.Hour)
			fields["hasBirthday"], fields["birthdayMonth"] = true, int64(3)
			fields["personalInfo"] = map[string]any{
				"fullName": "Jordan Q. Example " + strconv.Itoa(i), "gender": "f", "birthday": "1990-03-14",
				"email": "jordan" + strconv.Itoa(i) + "@example.com", "phone": "555-0100" + strconv.Itoa(i), "city": "Brno",
			}
		}
		docs = append(docs, csvrowtest.Document(fmt.Sprintf("projects/exportd/databases/(default)/documents/VipMessages/%020d", i), fields))
	}
	return docs
}

// BenchmarkEncode compares formats: ns for a row, and bytes of a row.
func BenchmarkEncode(b *testing.B) {
	for _, d := range []*dataset.Dataset{dataset.VIPUsers, dataset.VIPMessages} {
		docs := benchDocs(d, 50_000)
		type rows interface {
			AppendRow(dst, doc []byte) ([]byte, error)
		}
		for name, encoder := range map[string]func() rows{
			"csv":     func() rows { return csvrow.NewEncoder(d, csvrow.Options{}) },
			"jsonl":   func() rows { return jsonrow.NewEncoder(d, jsonrow.Options{}) },
			"parquet": func() rows { return parquetrow.NewEncoder(d, nil) },
		} {
			b.Run(d.Name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				buf := make([]byte, 0, 20<<20)
				var size int
				for b.Loop() {
					e := encoder()
					buf = buf[:0]
					for _, doc := range docs {
						var err error
						if buf, err = e.AppendRow(buf, doc); err != nil {
							b.Fatal(err)
						}
					}
					if e, ok := e.(*parquetrow.Encoder); ok {
						var err error
						if buf, err = e.AppendEnd(buf); err != nil {
							b.Fatal(err)
						}
					}
					size = len(buf)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(docs)), "ns/row")
				b.ReportMetric(float64(size)/float64(len(docs)), "B/row")
			})
		}
	}
}
