package demo

import (
	"bufio"
	"compress/gzip"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

//go:embed data/*.gz
var sources embed.FS

// corpus is the unpacked source data, about 4 MB.
type corpus struct {
	all       []string            // every real message
	multiline []string            // those with a line feed
	byLang    map[string][]string // by BCP 47 tag
	locales   []locale
	byScript  [][]int // indexes of locales, by script in order of appearance
	hazards   []hazard
	long      []hazard
	records   []map[string]any
}

// locale is one line of names.jsonl with what else is known about it.
type locale struct {
	Locale string   `json:"locale"`
	Lang   string   `json:"lang"`
	Script string   `json:"script"`
	Given  []string `json:"given"`
	Family []string `json:"family"`
	Cities []string `json:"cities"`

	country string
	texts   []string
}

// hazard is a value that programs get wrong.
type hazard struct {
	ID       string  `json:"id"`
	Category string  `json:"category"`
	Text     *string `json:"text"` // nil where the bytes are not UTF-8
}

// unpacked reads the corpus once per process: it is immutable, and made of embedded bytes alone.
var unpacked = sync.OnceValues(readCorpus)

func readCorpus() (*corpus, error) {
	c := &corpus{byLang: map[string][]string{}}
	steps := []func() error{c.readMessages, c.readLocales, c.readHazards, func() (err error) {
		c.records, err = readRecords()
		return err
	}}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, fmt.Errorf("read demo sources: %w", err)
		}
	}
	return c, nil
}

func (c *corpus) readMessages() error {
	for _, name := range []string{"support", "dialog", "irc", "irc-multiline", "tatoeba"} {
		err := eachLine("messages-"+name+".jsonl", func(m struct{ Text, Lang string }) {
			c.all = append(c.all, m.Text)
			c.byLang[m.Lang] = append(c.byLang[m.Lang], m.Text)
			if strings.Contains(m.Text, "\n") {
				c.multiline = append(c.multiline, m.Text)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *corpus) readLocales() error {
	cities := map[string][]string{}
	err := eachLine("cities.jsonl", func(place struct{ City, Country string }) {
		cities[place.Country] = append(cities[place.Country], place.City)
	})
	if err != nil {
		return err
	}
	var scripts []string
	return eachLine("names.jsonl", func(l locale) {
		l.country = countryOf(l)
		if len(l.Given) == 0 || len(l.Family) == 0 {
			l.Given, l.Family = bengaliGiven(), bengaliFamily() // the only one without
		}
		if len(l.Cities) == 0 {
			l.Cities = cities[l.country]
		}
		if len(l.Cities) == 0 {
			l.Cities = []string{""}
		}
		l.texts = c.textsOf(l)
		at := slices.Index(scripts, l.Script)
		if at < 0 {
			at = len(scripts)
			scripts = append(scripts, l.Script)
			c.byScript = append(c.byScript, nil)
		}
		c.byScript[at] = append(c.byScript[at], len(c.locales))
		c.locales = append(c.locales, l)
	})
}

// textsOf returns messages in the language of a locale, or all of them where the sources have none.
func (c *corpus) textsOf(l locale) []string {
	tag := l.Lang
	if tag == "zh" {
		tag = "zh-" + l.Script
	}
	if found := c.byLang[tag]; len(found) > 0 {
		return found
	}
	return c.all
}

func (c *corpus) readHazards() error {
	var entries []hazard
	if err := readJSON("csv-hazards.json", &entries); err != nil {
		return err
	}
	for _, h := range entries {
		if h.Text != nil {
			c.hazards = append(c.hazards, h)
		}
	}
	var naughty []string
	if err := readJSON("blns.json", &naughty); err != nil {
		return err
	}
	for i := range naughty {
		c.hazards = append(c.hazards, hazard{ID: fmt.Sprintf("blns-%03d", i+1), Category: "blns", Text: &naughty[i]})
	}
	return readJSON("csv-hazards-long.json", &c.long)
}

// readRecords keeps numbers as they are written: one is above 2^53.
func readRecords() (records []map[string]any, err error) {
	file, err := open("csv-hazard-records.json")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	var entries []struct{ Record map[string]any }
	decoder := json.NewDecoder(file)
	decoder.UseNumber()
	if err := decoder.Decode(&entries); err != nil {
		return nil, err
	}
	for _, entry := range entries {
		records = append(records, entry.Record)
	}
	return records, nil
}

func open(name string) (*gzip.Reader, error) {
	packed, err := sources.Open("data/" + name + ".gz")
	if err != nil {
		return nil, err
	}
	file, err := gzip.NewReader(packed) // an embedded file needs no Close
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return file, nil
}

func readJSON(name string, into any) error {
	file, err := open(name)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return json.Unmarshal(data, into)
}

func eachLine[T any](name string, do func(T)) error {
	file, err := open(name)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var row T
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		do(row)
	}
	return lines.Err()
}

// countryOf returns the country in the name of a locale, or the one with most speakers of its language.
func countryOf(l locale) string {
	if _, region, found := strings.Cut(l.Locale, "_"); found && len(region) == 2 {
		return region
	}
	countries := map[string]string{
		"ar": "EG", "az": "AZ", "da": "DK", "de": "DE", "dv": "MV", "el": "GR", "en": "US", "eo": "BE", "es": "MX", "fa": "IR",
		"fi": "FI", "fr": "FR", "he": "IL", "hr": "HR", "hu": "HU", "hy": "AM", "it": "IT", "ja": "JP", "ko": "KR", "ku": "IQ",
		"lv": "LV", "mk": "MK", "ne": "NP", "nl": "NL", "pl": "PL", "ro": "RO", "ru": "RU", "sk": "SK", "sr": "RS", "sv": "SE",
		"th": "TH", "tr": "TR", "uk": "UA", "ur": "PK", "uz": "UZ", "vi": "VN",
	}
	return countries[l.Lang]
}

// bengaliGiven and bengaliFamily stand in for the lists that names.jsonl has not got for Bengali. They are
// common names, written for this package.
func bengaliGiven() []string {
	return []string{"রহিম", "করিম", "ফাতেমা", "আয়েশা", "সুমন", "রুমা", "তানিয়া", "নাসরিন", "শফিক", "জাহিদ", "মিতা", "অনিক"}
}

func bengaliFamily() []string {
	return []string{"হোসেন", "আহমেদ", "ইসলাম", "রহমান", "খান", "চৌধুরী", "দাস", "সরকার", "বেগম", "আক্তার"}
}
