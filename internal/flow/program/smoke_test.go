package program_test

import (
	"context"
	"testing"
	"time"

	"github.com/tocsin-events/tocsin/internal/flow/program"
)

type echo struct{}

func (echo) Do(_ context.Context, e program.Effect) (program.Answer, error) {
	return program.Answer{Output: e.Arguments, At: time.Unix(1700000000, 0)}, nil
}

func TestSmoke(t *testing.T) {
	p, err := program.Compile([]byte(`
document: {dsl: '1.0.3', namespace: default, name: x, version: '1.0.0'}
do:
  - loop:
      for: {each: color, in: .colors}
      do:
        - mark:
            set:
              processed: '${ { colors: (.processed.colors + [ $color ]), indexes: (.processed.indexes + [ $index ])} }'
  - attempt:
      try:
        - fail: {raise: {error: {type: 'https://serverlessworkflow.io/dsl/errors/types/communication', status: 404, title: gone}}}
      catch:
        errors: {with: {type: 'https://open-workflow-specification.org/spec/1.0.0/errors/communication'}}
        do:
          - keep: {set: {error: '${ $error }', was: '${ . }'}}
  - tell: {emit: {event: {with: {type: a.b, data: '${ . }'}}}}
`), program.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Run(t.Context(), program.Run{ID: "1", Input: map[string]any{"colors": []any{"red", "green"}}, StartedAt: time.Unix(1700000000, 0), Effects: echo{}, OnStep: func(s program.Step) { t.Logf("%+v", s) }})
	t.Logf("%+v %v", r, err)
	if r.State != program.Completed {
		t.Error(r.Err)
	}
}
