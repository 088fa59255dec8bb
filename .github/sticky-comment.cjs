// The gate's one comment on a pull request: made once, then kept up to date. Used by workflows/gate-comment.yml.
const fs = require('node:fs')
const path = require('node:path')

const MARKER = '<!-- moe-router-gate -->'
const LONGEST = 65536 // characters that GitHub takes

module.exports = async ({ github, context, core, folder }) => {
  // Both files were written by a run of the pull request's code: neither is believed without a check.
  const number = Number(fs.readFileSync(path.join(folder, 'pull-request'), 'utf8'))
  const body = fs.readFileSync(path.join(folder, 'gate.md'), 'utf8')
  if (!Number.isInteger(number) || number < 1) return core.setFailed('the artifact names no pull request')
  if (!body.startsWith(MARKER)) return core.setFailed('the artifact holds no result of the gate')
  if (body.length > LONGEST) return core.setFailed('the result is longer than a comment may be')

  const where = { owner: context.repo.owner, repo: context.repo.repo }
  const { data: pull } = await github.rest.pulls.get({ ...where, pull_number: number })
  if (pull.head.sha !== context.payload.workflow_run.head_sha) {
    return core.setFailed(`the run did not judge the head of pull request ${number}`)
  }
  const comments = await github.paginate(github.rest.issues.listComments, { ...where, issue_number: number })
  const ours = comments.find((each) => each.user.type === 'Bot' && each.body.startsWith(MARKER))
  if (ours) await github.rest.issues.updateComment({ ...where, comment_id: ours.id, body })
  else await github.rest.issues.createComment({ ...where, issue_number: number, body })
}
