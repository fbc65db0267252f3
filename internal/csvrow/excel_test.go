package csvrow_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"exportd/internal/csvrow"
	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/dataset"
)

// takenTexts are texts that a spreadsheet takes for something else, in some locale.
var takenTexts = []string{
	"12345678901234567", "00123", "1E5", "1e5", "1d5", "0x10", "1,5", "1.5", "1.234,56", "1,234.56", "1 234", "1\u00a0234,5", "1'234.5", "-5", "+5", "+41790000000", "5-", "(5)", "5%", "%5",
	"$5", "5 €", "€5", "12,50 €", "EUR 5", "\\100", "1/2", "3 1/2", "1-2", "1.2", "1.2.", "2026-06-02", "2026-06-02T03:04:05Z", "2026-06-02 03:04:05", "02.06.2026", "2/6/26", "MAR1", "1 mar",
	"2 Juni 2026", "Jun 2, 2026", "Dienstag, 2. Juni 2026", "2. Juni", "terça-feira, 2 de junho de 2026 3:04 PM", "10:30", "10:30 PM", "25:00:00", "1:2", "TRUE", "true", "False", "WAHR", "falsch",
	"#N/A", "#REF!", "#NAME?", "#DIV/0!", "Err:502", " 5 ", "5\n", "\n5", "\t5", "5\t", "\u00a05", "１２３", "٣٤", "1_000", "1e", "e5", ".5", "5.", ",5", "--5", "1e400", "1E-400", "NaN", "Infinity",
	"-Infinity", "inf", "id", "ID", "sep=;", strings.Repeat("9", 255), strings.Repeat("9", 256), strings.Repeat("0", 400) + "7", strings.Repeat(" ", 300) + "5", "1" + strings.Repeat("\"", 300),
	"1" + strings.Repeat("😀", 300), "5 a\"b", "=1+1", "@SUM(1)", "&HYPERLINK(\"http://x.example\")", "*2", "/2", "'5", "''5", "'", "\"5\"", "\"", "=\"5\"", "\"=\"\"5\"\"\"", "x\ty", "x\r\ny", "1\n2",
	"2026-13-01", "1990-12-10", "1899-01-01", "gold", "Jordan Example", "hi, I have 2 accounts and 3 cards, can you see both", strings.Repeat("long text 1 ", 4000),
}

// TestExcelCells: what is stored is so in the file.
func TestExcelCells(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 6, 2, 3, 4, 5, 678901000, time.UTC)
	for _, c := range []struct {
		stored any
		want   string
	}{
		{"00123", `"=""00123"""`}, {"1E5", `"=""1E5"""`}, {"12345678901234567", `"=""12345678901234567"""`}, {"gold", "gold"}, {"true", `"=""true"""`}, {"Wahr ", `"=""Wahr """`},
		{true, `"=""true"""`}, {"a, b", `"a, b"`}, {"a\tb", "\"a\tb\""}, {"5\n", "\"5\n\""}, {"#N/A", `"=""#N/A"""`}, {`5 "x"`, `"5 ""x"""`}, {"-5", `"=""-5"""`}, {"=1", `"=""'=1"""`},
		{"-x", "'-x"}, {"&x", `"=""&x"""`}, {`&"`, `"=""&"""""""`}, {"１２", `"=""１２"""`}, {"I have 2 cats and 3 dogs here, too", `"I have 2 cats and 3 dogs here, too"`},
		{"what 2?", "what 2?"}, {" x", `" x"`}, {"\x00", "\"\u2400\""}, {"\xff1", "\"=\"\"\ufffd1\"\"\""}, {"😀", "😀"}, {nil, ""}, {"", ""},
		{strings.Repeat("9", 256), `"=""` + strings.Repeat("9", 254) + `""&""99"""`}, {strings.Repeat("9", 8000), `"` + strings.Repeat("9", 8000) + `"`},
		{int64(0), "0"}, {int64(-12), "-12"}, {int64(120), "120"}, {12.5, "=125/10"}, {-0.25, "=-25/100"}, {1e20, "=1E20"}, {1.5e21, "=15E20"}, {1e-7, "=1/10000000"}, {3e-300, "=3E-300"},
		{math.Copysign(0, -1), "0"}, {0.1 + 0.2, "=3/10"}, {999999999999999.9, "=1E15"}, {int64(999999999999999), "999999999999999"}, {int64(1234567890123456), `"=""1234567890123456"""`},
		{math.Inf(-1), `"=""-Infinity"""`}, {math.NaN(), "NaN"}, {at, "2026-06-02 03:04:05"}, {"1990-12-10", `"=""1990-12-10"""`},
	} {
		e := csvrow.NewEncoder(dataset.VIPMessages, csvrow.Options{Excel: true, FormulaGuard: true, Columns: []int{3, 0}})
		row, err := e.AppendRow(nil, csvrowtest.Document("d/c/m", map[string]any{"displayName": c.stored}))
		if got, ok := strings.CutSuffix(utf8Of(t, row), "\tm\r\n"); err != nil || !ok || got != c.want {
			t.Errorf("%#v is the cell %q, %v, want %q", c.stored, got, err, c.want)
		}
	}
	for text, want := range map[string]string{"1990-12-10": "1990-12-10", "1990-02-30": `"=""1990-02-30"""`, "x": "x"} {
		e := csvrow.NewEncoder(dataset.VIPUsers, csvrow.Options{Excel: true, Columns: []int{14}})
		row, err := e.AppendRow(nil, csvrowtest.Document("d/c/u", map[string]any{"personalInfo": map[string]any{"birthday": text}}))
		if got := utf8Of(t, row); err != nil || got != want+"\r\n" {
			t.Errorf("the date %s is the cell %q, %v", text, got, err)
		}
	}
	prague := zones[0]
	e := csvrow.NewEncoder(dataset.VIPMessages, csvrow.Options{Excel: true, Zone: prague, Columns: []int{1, 7}})
	row, err := e.AppendRow(nil, csvrowtest.Document("d/c/m", map[string]any{"timestamp": at, "labels": []any{"a;b", at}}))
	if got, want := utf8Of(t, row), "2026-06-02 05:04:05\t\"=\"\"a\\;b;2026-06-02T05:04:05.678901+02:00\"\"\"\r\n"; err != nil || got != want {
		t.Errorf("in Prague: %q, %v, want %q", got, err, want)
	}
}

func TestExcelHeader(t *testing.T) {
	t.Parallel()
	for want, opts := range map[string]csvrow.Options{
		"\ufefftext\tid\r\n": {Excel: true, Columns: []int{6, 0}},
		"\ufeff":             {Excel: true, NoHeader: true},
	} {
		if got := utf8Of(t, csvrow.NewEncoder(dataset.VIPMessages, opts).AppendHeader(nil)); got != want {
			t.Errorf("header of %+v = %q, want %q", opts, got, want)
		}
	}
	e := csvrow.NewEncoder(dataset.VIPMessages, csvrow.Options{Excel: true, Columns: []int{6}})
	if got, err := e.AppendRow(nil, csvrowtest.Document("d/c/m", nil)); err != nil || utf8Of(t, got) != "\"\"\r\n" {
		t.Errorf("a row of an empty cell = %q, %v", got, err)
	}
	if got, err := e.AppendRow([]byte("x"), []byte{0xff}); err == nil || string(got) != "x" {
		t.Errorf("of a document that is none: %q, %v", got, err)
	}
}

// TestExcelRows: a reader that knows two kinds of formulas finds what the judge of plain files has: the same
// texts, numbers to 15 digits, times to the second. No cell that is not the literal of one, and has a digit
// or begins a formula, was stored as text of few words.
func TestExcelRows(t *testing.T) {
	t.Parallel()
	texts := append(append([]string{}, takenTexts...), append(hazards(t), guardedTexts...)...)
	at := time.Date(2026, 6, 2, 3, 4, 5, 0, time.UTC)
	for seed := range uint64(len(texts)) {
		r := rand.New(rand.NewPCG(seed, 5))
		guard, text, number := r.IntN(2) == 0, texts[seed], []any{r.Int64(), r.NormFloat64(), math.Float64frombits(r.Uint64()), r.Int64N(1e15), float64(r.IntN(1e6)) / 100}[r.IntN(5)]
		e := csvrow.NewEncoder(dataset.VIPUsers, csvrow.Options{Excel: true, FormulaGuard: guard})
		file, err := e.AppendRow(e.AppendHeader(nil), csvrowtest.Document("d/c/"+strconv.FormatUint(seed, 10), map[string]any{
			"displayName": text, "ltv": number, "firstSeenAt": at.Add(time.Duration(seed) * time.Hour),
		}))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csvrowtest.Sheet(file)
		if err != nil || len(rows) != 2 || len(rows[1]) != len(dataset.VIPUsers.Columns) {
			t.Fatalf("%q: %d rows, %v", text, len(rows), err)
		}
		row, want := rows[1], strings.ReplaceAll(csvrowtest.Text(text), "\x00", "\u2400")
		if guard {
			bare := string([]rune(want))
			want = csvrowtest.Guard(want)
			if by := e.Guarded(); len(by) > 1 || by["displayName"] == 1 != (want != bare) {
				t.Errorf("of the text %q the guarded cells are %v", text, by)
			}
		}
		want = strings.ReplaceAll(string([]rune(want)), "\r\n", "\n") // each byte that is not UTF-8 is U+FFFD
		if got := row[2]; got.Text != want || got.Number {
			t.Errorf("the text %q is %+v, want %q", text, got, want)
		} else if !got.Literal && len(want) < 7000 && !strings.ContainsAny(want, "\r\n?!_<>{}[]|\"") && strings.ContainsAny(want, "0123456789") && len(strings.Fields(want)) < 4 {
			t.Errorf("the text %q is not the literal of a formula", text)
		}
		if got := row[0]; got.Text != strconv.FormatUint(seed, 10) || !got.Literal {
			t.Errorf("id %d is %+v", seed, got)
		}
		if got, want := row[10].Text, at.Add(time.Duration(seed)*time.Hour).Format(time.DateTime); got != want {
			t.Errorf("a time is %q, want %q", got, want)
		}
		stored := csvrowtest.Text(number)
		f, _ := strconv.ParseFloat(stored, 64)
		if got := row[6]; got.Number && got.Text != csvrowtest.Digits15(f) || !got.Number && (got.Text != stored || math.Abs(f) < 1e15) {
			t.Errorf("the number %s is %+v", stored, got)
		}
	}
}

// utf8Of decodes UTF-16.
func utf8Of(t *testing.T, file []byte) string {
	t.Helper()
	if len(file)%2 != 0 {
		t.Fatalf("%d bytes are no UTF-16", len(file))
	}
	units := make([]uint16, len(file)/2)
	for i := range units {
		units[i] = uint16(file[2*i]) | uint16(file[2*i+1])<<8
	}
	return string(utf16.Decode(units))
}

// BenchmarkExcel is to be compared with BenchmarkEncode/vip-messages/row.
func BenchmarkExcel(b *testing.B) {
	for _, kind := range kinds {
		docs, _ := benchData(kind)
		b.Run(fmt.Sprint(kind), func(b *testing.B) {
			e := csvrow.NewEncoder(dataset.BuiltIn.Get(string(kind)), csvrow.Options{Excel: true, FormulaGuard: true})
			var out []byte
			b.ReportAllocs()
			for i := 0; b.Loop(); i = (i + 1) % benchRows {
				out, _ = e.AppendRow(out[:0], docs[i])
			}
		})
	}
}
