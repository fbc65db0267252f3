package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"
	"github.com/goccy/go-yaml"

	"exportd/api/docs"
	"exportd/internal/apikey"
	"exportd/internal/dataset"
)

//go:embed openapi.yaml
var openapiYAML []byte

// docsSources are what the pages at /docs show of what is told elsewhere too.
//
//go:embed file.md sandbox.md client/python/README.md client/typescript/README.md client/examples
var docsSources embed.FS

// docsPolicy lets pages at /docs load what this server has, and nothing else.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// document is a file that is the same for all, plain and packed.
type document struct {
	contentType string
	plain       []byte
	packed      []byte
	etag        string // of the plain form, without quotes
}

// newDocument is called once per file, when it is first asked for: nothing of this delays the start.
func newDocument(contentType string, content []byte) (*document, error) {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	_, _ = w.Write(content) // to memory
	if err := w.Close(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	return &document{contentType, content, packed.Bytes(), hex.EncodeToString(sum[:8])}, nil
}

// write answers with the document, or says that the caller has it.
func (d *document) write(c *gin.Context) {
	body, etag := d.plain, `"`+d.etag+`"`
	if acceptsGzip(c.Request.Header) {
		body, etag = d.packed, `"`+d.etag+`-gzip"`
		c.Header("Content-Encoding", "gzip")
	}
	c.Header("ETag", etag)
	c.Header("Vary", "Accept-Encoding")
	c.Header("Cache-Control", "no-cache") // may be kept, and is asked about: a new version shows at once
	if strings.Contains(c.GetHeader("If-None-Match"), etag) {
		c.Writer.Header().Del("Content-Encoding")
		c.Status(http.StatusNotModified)
		return
	}
	c.Data(http.StatusOK, d.contentType, body)
}

func acceptsGzip(h http.Header) bool {
	for item := range strings.SplitSeq(h.Get("Accept-Encoding"), ",") {
		name, quality, _ := strings.Cut(item, ";")
		if strings.TrimSpace(name) == "gzip" && strings.TrimSpace(quality) != "q=0" {
			return true
		}
	}
	return false
}

// openapiJSON is openapi.yaml with the datasets of an installation, as JSON, its members in the same order.
func openapiJSON(datasets dataset.Set) (*document, error) {
	content, err := yaml.YAMLToJSON([]byte(withDatasets(string(openapiYAML), datasets)))
	if err != nil {
		return nil, fmt.Errorf("convert openapi.yaml: %w", err)
	}
	return newDocument("application/json; charset=utf-8", content)
}

func (s *Server) openapi(c *gin.Context, _ *apikey.Key) error {
	d, err := s.contract()
	if err != nil {
		return err
	}
	d.write(c)
	return nil
}

// docFiles are the pages at /docs and what they load, by the name behind it, each packed when it is first
// asked for.
func (s *Server) docFiles() (map[string]func() (*document, error), error) {
	files, err := docs.Files(docs.Config{Sources: docsSources, Service: docs.Service{
		Window: s.verifier.Window, DefaultWait: s.defaultWait, MaxWait: maxWait, URLLife: s.urlLife, OwnLinks: s.links != nil,
	}})
	if err != nil {
		return nil, fmt.Errorf("make the documentation: %w", err)
	}
	out := map[string]func() (*document, error){}
	for name, f := range files {
		out[name] = sync.OnceValues(func() (*document, error) { return newDocument(f.ContentType, f.Content) })
	}
	return out, nil
}

func (s *Server) docsPage(c *gin.Context, _ *apikey.Key) error { return s.serveDocs(c, "") }

func (s *Server) docsFile(c *gin.Context, _ *apikey.Key) error {
	return s.serveDocs(c, c.Param("file"))
}

// redirect leads to what somebody means who does not know the path.
func redirect(path string) endpoint {
	return func(c *gin.Context, _ *apikey.Key) error {
		c.Header("Location", path)
		c.Status(http.StatusTemporaryRedirect)
		return nil
	}
}

func (s *Server) serveDocs(c *gin.Context, name string) error {
	files, err := s.docs()
	if err != nil {
		return err
	}
	file, ok := files[name]
	if !ok {
		return refuse(http.StatusNotFound, "no such page: /docs leads to all there are")
	}
	d, err := file()
	if err != nil {
		return fmt.Errorf("pack %q of the documentation: %w", name, err)
	}
	c.Header("Content-Security-Policy", docsPolicy)
	d.write(c)
	return nil
}
