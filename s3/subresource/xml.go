package subresource

import (
	"bytes"
	"encoding/xml"
	"io"
	"reflect"
	"strings"
)

// Namespace is the XML namespace of S3's documents.
const Namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// Limits of a document.
const (
	MaxDocument = 1 << 20 // bytes of any configuration document
	maxDepth    = 16      // elements within elements
)

// Unmarshal reads one XML document with the given root element into v, a
// pointer to a struct. It refuses, with Malformed, what Amazon's schema check
// refuses: another root or namespace, elements that v's type does not name,
// a repeated element where one is allowed, text between elements, document
// type declarations, and depth beyond reason.
func Unmarshal(data []byte, root string, v any) error {
	if len(data) > MaxDocument {
		return &Error{Code: "MaxMessageLengthExceeded", Message: "Your request was too big.", Status: 400}
	}
	if err := check(data, root, reflect.TypeOf(v)); err != nil {
		return Malformed()
	}
	if err := xml.Unmarshal(data, v); err != nil {
		return Malformed()
	}
	return nil
}

// Marshal writes v as a document in S3's namespace under the given root, with
// the XML declaration.
func Marshal(root string, v any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	start := xml.StartElement{
		Name: xml.Name{Local: root},
		Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: Namespace}},
	}
	if err := xml.NewEncoder(&b).EncodeElement(v, start); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

type frame struct {
	typ  reflect.Type // of the element's content, a struct; nil for text
	seen map[string]bool
}

// check walks the document beside the type.
func check(data []byte, root string, typ reflect.Type) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	var stack []frame
	done := false
	for {
		tok, err := d.Token()
		if err == io.EOF {
			if !done {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch t := tok.(type) {
		case xml.Directive:
			return Malformed()
		case xml.CharData:
			inText := len(stack) > 0 && stack[len(stack)-1].typ == nil
			if !inText && len(bytes.TrimSpace(t)) > 0 {
				return Malformed()
			}
		case xml.StartElement:
			next, err := enter(stack, t, root, typ, done)
			if err != nil {
				return err
			}
			stack = append(stack, next)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
			done = len(stack) == 0
		}
	}
}

func enter(stack []frame, t xml.StartElement, root string, typ reflect.Type, done bool) (frame, error) {
	if t.Name.Space != "" && t.Name.Space != Namespace || len(stack) >= maxDepth || done {
		return frame{}, Malformed()
	}
	if len(stack) == 0 {
		if t.Name.Local != root {
			return frame{}, Malformed()
		}
		return frameOf(typ), nil
	}
	top := stack[len(stack)-1]
	field, many, ok := fieldFor(top.typ, t.Name.Local)
	if !ok || top.seen[t.Name.Local] && !many {
		return frame{}, Malformed()
	}
	top.seen[t.Name.Local] = true
	return frameOf(field), nil
}

func frameOf(t reflect.Type) frame {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return frame{}
	}
	return frame{typ: t, seen: map[string]bool{}}
}

// fieldFor finds the field of struct type t that holds element name.
func fieldFor(t reflect.Type, name string) (typ reflect.Type, many, ok bool) {
	if t == nil {
		return nil, false, false
	}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, opts, _ := strings.Cut(f.Tag.Get("xml"), ",")
		if tag == "" {
			tag = f.Name
		}
		if tag != name || strings.Contains(opts, "attr") || f.Name == "XMLName" {
			continue
		}
		if f.Type.Kind() == reflect.Slice {
			return f.Type.Elem(), true, true
		}
		return f.Type, false, true
	}
	return nil, false, false
}
