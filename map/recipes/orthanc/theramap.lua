-- Routes PET studies from Orthanc to theramap: PET and CT, edited segmentations, reports of readers.
--
-- A series is sent when its study is stable, and again when it has grown. What theramap itself wrote is not
-- sent back. A transfer that failed is tried again with Orthanc's heartbeat and when another study is stable; when
-- Orthanc starts, what it still owes of recent studies is sent.

local MODALITY = 'theramap' -- its name in DicomModalities of Orthanc's configuration
local LOOK_BACK_DAYS = 30 -- by their Study Date, studies that are looked through when Orthanc starts
local IMAGES = {PT = true, CT = true}
local ANSWERS = {SEG = true, SR = true} -- what a reader may send back
local SENT = '4201' -- metadata of a series: what it was when it was last sent

local OUR_MODEL = 'theramap PET/CT'
local OUR_UIDS = '2.25.'
local OUR_LABELS = {THERAMAP = true, REGIONS = true}
local PROCESSING_EQUIPMENT = '109102' -- DICOM PS3.16, CID 7005

local jobs = {} -- job -> {study, {series -> what it was}}
local waiting = {} -- studies of which a transfer failed

local function ask(path)
  return ParseJson(RestApiGet(path))
end

-- Reads the attributes of an instance, or of an item in it: a function from tag to text, '' for what is not
-- there (Orthanc logs an error when it is asked for that), and from tag to whether it is there.
local function reader(path)
  local has = {}
  for _, tag in ipairs(ask(path)) do
    has[tag] = true
  end
  local function text(tag)
    return has[tag] and (RestApiGet(path .. '/' .. tag):gsub('[%z ]+$', '')) or ''
  end
  return text, has
end

-- A date and time without the zeros that end its fraction.
local function moment(stated)
  return stated:find('.', 1, true) and (stated:gsub('0+$', ''):gsub('%.$', '')) or stated
end

-- Whether an item of Contributing Equipment is the program that wrote the instance, at the given moment.
local function made_it(item, written)
  local text, has = reader(item)
  return text('0008-1090') == OUR_MODEL
    and moment(text('0018-a002')) == written
    and has['0040-a170']
    and reader(item .. '/0040-a170/0')('0008-0100') == PROCESSING_EQUIPMENT
end

-- Whether theramap wrote it: UIDs, model, label and moment are all ours. An editor changes one of them, and
-- what it wrote is sent; whether that is an answer, theramap judges.
local function is_ours(instance)
  local path = '/instances/' .. instance .. '/content'
  local text, has = reader(path)
  local written = moment(text('0008-0023') .. text('0008-0033'))
  if
    text('0008-1090') ~= OUR_MODEL
    or text('0008-0018'):sub(1, #OUR_UIDS) ~= OUR_UIDS
    or text('0020-000e'):sub(1, #OUR_UIDS) ~= OUR_UIDS
    or text('0008-0060') == 'SEG' and not OUR_LABELS[text('0070-0080')]
    or moment(text('0008-0021') .. text('0008-0031')) ~= written
    or not has['0018-a001']
  then
    return false
  end
  for _, number in ipairs(ask(path .. '/0018-a001')) do
    if made_it(path .. '/0018-a001/' .. number:match('%d+'), written) then
      return true
    end
  end
  return false
end

-- What changes when a series gets an instance.
local function state(series)
  return series.LastUpdate .. '/' .. #series.Instances
end

-- What of a series is to be sent: all of it when it is images, else each instance that is not ours.
local function of_series(series)
  if IMAGES[series.MainDicomTags.Modality] then
    return {series.ID}
  end
  local found = {}
  for _, instance in ipairs(ANSWERS[series.MainDicomTags.Modality] and series.Instances or {}) do
    if not is_ours(instance) then
      table.insert(found, instance)
    end
  end
  return found
end

-- Resources of a study that are to be sent, and the state of their series. Nothing of a study without PET.
local function news(study)
  local all = ask('/studies/' .. study .. '/series')
  local resources, states, has_pet = {}, {}, false
  for _, series in ipairs(all) do
    has_pet = has_pet or series.MainDicomTags.Modality == 'PT'
  end
  for _, series in ipairs(has_pet and all or {}) do
    local sent = ask('/series/' .. series.ID .. '/metadata?expand')[SENT]
    for _, resource in ipairs(sent ~= state(series) and of_series(series) or {}) do
      table.insert(resources, resource)
      states[series.ID] = state(series)
    end
  end
  return resources, states
end

-- Sends what is new of a study.
local function route(study)
  local resources, states = news(study)
  if #resources == 0 then
    return
  end
  local order = DumpJson({Resources = resources, Asynchronous = true}, true)
  local answer = RestApiPost('/modalities/' .. MODALITY .. '/store', order)
  if answer == nil then
    error('Orthanc knows no modality ' .. MODALITY, 0)
  end
  jobs[ParseJson(answer).ID] = {study = study, states = states}
  print('theramap: study ' .. study .. ' is sent: ' .. #resources .. ' resources')
end

local function wait(study, reason)
  waiting[study] = true
  print('theramap: study ' .. study .. ' waits: ' .. tostring(reason))
end

-- One study that cannot be read or sent leaves the others as they are.
local function try(study)
  local done, reason = pcall(route, study)
  if not done then
    wait(study, reason)
  end
end

local function try_waiting()
  local again = waiting
  waiting = {}
  for study in pairs(again) do
    if RestApiGet('/studies/' .. study) then -- it may have been deleted since
      try(study)
    end
  end
end

-- Called when Orthanc has started. What waited, or was not yet stable, when it ended is in no memory but its own
-- store: the series of which no transfer has succeeded.
function Initialize()
  local first_day = os.date('%Y%m%d', os.time() - LOOK_BACK_DAYS * 86400)
  local query = {StudyDate = first_day .. '-', ModalitiesInStudy = 'PT'}
  for _, study in ipairs(ParseJson(RestApiPost('/tools/find', DumpJson({Level = 'Study', Query = query}, true)))) do
    waiting[study] = true
  end
  try_waiting()
end

function OnStableStudy(studyId, tags, metadata)
  waiting[studyId] = true
  try_waiting()
end

-- Called every LuaHeartBeatPeriod seconds; Orthanc has this from 1.11.1 on.
function OnHeartBeat()
  try_waiting()
end

function OnJobSuccess(jobId)
  local job = jobs[jobId]
  jobs[jobId] = nil
  for series, sent in pairs(job and job.states or {}) do
    RestApiPut('/series/' .. series .. '/metadata/' .. SENT, sent)
  end
end

function OnJobFailure(jobId)
  local job = jobs[jobId]
  if job then
    jobs[jobId] = nil
    wait(job.study, ask('/jobs/' .. jobId).ErrorDetails)
  end
end
