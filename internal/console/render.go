package console

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
	"unicode"

	"go.uber.org/zap"
)

//go:embed pages/*.html
var pageFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// pages are templates by name, each with the layout around it.
type pages map[string]*template.Template

func parsePages() (pages, error) {
	all, err := fs.Glob(pageFiles, "pages/*.html")
	if err != nil {
		return nil, err
	}
	base, err := template.New("layout").Funcs(functions).ParseFS(pageFiles, "pages/layout.html", "pages/parts.html")
	if err != nil {
		return nil, fmt.Errorf("parse layout: %w", err)
	}
	set := pages{}
	for _, file := range all {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		t, err := base.Clone()
		if err == nil {
			t, err = t.ParseFS(pageFiles, file)
		}
		if err != nil {
			return nil, fmt.Errorf("parse page %s: %w", name, err)
		}
		set[name] = t
	}
	return set, nil
}

// frame is what stands around a page.
type frame struct {
	Title string
	Page  string
	Who   *principal
	Said  string // what was done just now
	Live  string // where the stream of the page is
	Asset func(string) string
	Now   time.Time
	Data  any
}

// Act, Admin and Look are for templates.
func (f frame) Act() bool   { return f.Who != nil && f.Who.mayAct() }
func (f frame) Admin() bool { return f.Who != nil && f.Who.mayAdmin() }
func (f frame) Look() bool  { return f.Who != nil && f.Who.mayLook() }

// Name is who is signed in.
func (f frame) Name() string { return f.Who.name() }

// Token is that of the session's forms.
func (f frame) Token() string { return f.Who.Token }

// Probe is a form that looks whether a cause is mended.
func (f frame) Probe(cause string) probeForm { return probeForm{cause, f.Token(), f.Once()} }

type probeForm struct{ Cause, Token, Once string }

// Once names a form, so that it is taken one time.
func (f frame) Once() string { return rand.Text() }

func (c *Console) render(w http.ResponseWriter, r *http.Request, who *principal, status int, name, title string, data any) {
	c.renderView(w, r, who, status, view{name: name, title: title, data: data})
}

func (c *Console) renderView(w http.ResponseWriter, r *http.Request, who *principal, status int, v view) {
	f := frame{Title: v.title, Page: v.name, Who: who, Asset: c.assetURL, Now: c.now().UTC(), Data: v.data, Said: said(r.URL.Query())}
	if v.live && who != nil {
		f.Live = liveURL(r)
	}
	body, err := c.made(v.name, "layout", f)
	if err != nil {
		c.log.Error("console page", zap.String("page", v.name), zap.Error(err))
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Vary", "Accept-Encoding, Cookie")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = packed(body)
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever went away has gone
}

// made executes a template whole before anything is sent.
func (c *Console) made(page, template string, data any) ([]byte, error) {
	t := c.pages[page]
	if t == nil {
		return nil, fmt.Errorf("there is no page %s", page)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, template, data); err != nil {
		return nil, err
	}
	return visible(b.Bytes()), nil
}

// visible replaces in a page what is no text: control characters by their pictures, and what reorders or
// hides text by its number. It is done to the whole page, so that nothing that is shown can be forgotten;
// templates have none.
func visible(page []byte) []byte {
	if bytes.IndexFunc(page, hidden) < 0 {
		return page
	}
	var b bytes.Buffer
	b.Grow(len(page))
	for _, r := range string(page) {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r < 0x20:
			b.WriteRune(0x2400 + r) // control pictures
		case r == 0x7f:
			b.WriteRune(0x2421)
		default:
			fmt.Fprintf(&b, "[U+%04X]", r)
		}
	}
	return b.Bytes()
}

// hidden reports whether a character is not seen, but for white space, and for the two that join letters and
// emoji (U+200C, U+200D).
func hidden(r rune) bool {
	switch r {
	case '\n', '\t', 0x200c, 0x200d:
		return false
	}
	return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) || unicode.Is(unicode.Co, r)
}

func packed(body []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(body) // to memory
	_ = w.Close()
	return b.Bytes()
}

// asset is a file that pages use.
type asset struct {
	body, packed []byte
	kind, sum    string
}

func readAssets() (map[string]asset, error) {
	assets := map[string]asset{}
	err := fs.WalkDir(assetFiles, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := assetFiles.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		kind := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}[path.Ext(name)]
		assets[path.Base(name)] = asset{body, packed(body), kind, hex.EncodeToString(sum[:6])}
		return nil
	})
	return assets, err
}

// assetURL has the file's sum, so that a browser may keep it until it is another one.
func (c *Console) assetURL(name string) string {
	return home + "/assets/" + name + "?" + c.assets[name].sum
}

func (c *Console) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := c.assets[r.PathValue("file")]
	if !ok {
		http.Error(w, "there is no such file", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Vary", "Accept-Encoding")
	if r.URL.RawQuery == a.sum {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	body := a.body
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = a.packed
	}
	_, _ = w.Write(body)
}
